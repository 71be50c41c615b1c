"""The epoch: agreed on once, and refused ever after by a Redis that lost it."""

import asyncio
from pathlib import Path

import pytest

from proxy.core.errors import ConfigError
from proxy.ledger.keys import Partition
from proxy.records.epoch import EpochLost, agree
from proxy.sql.sqlite import SqliteDatabase
from tests.support.stores import Build, House, build, house

__all__ = ["build", "house"]


async def test_many_first_starts_agree_on_one_epoch(build: Build, redis_url: str) -> None:
    houses = await asyncio.gather(*(build() for _ in range(6)))
    epochs = {await house.redis.execute("GET", partition.epoch) for house in houses for partition in house.partitions}
    assert len(epochs) == 1


async def test_a_second_start_finds_the_same_epoch(house: House) -> None:
    first = await agree(house.redis, house.database, house.partitions)
    assert await agree(house.redis, house.database, house.partitions) == first


async def test_a_flushed_redis_is_refused_by_name_of_the_way_out(house: House) -> None:
    await house.redis.execute("FLUSHALL")
    with pytest.raises(EpochLost, match="farebox rebuild"):
        await agree(house.redis, house.database, house.partitions)


async def test_a_redis_that_lost_one_partition_is_refused(house: House) -> None:
    await house.redis.execute("DEL", house.partitions[2].epoch)
    with pytest.raises(EpochLost, match="farebox rebuild"):
        await agree(house.redis, house.database, house.partitions)


async def test_a_redis_of_another_database_is_refused(house: House, tmp_path: Path) -> None:
    other = SqliteDatabase(tmp_path / "other.db")
    await other.migrate()
    with pytest.raises(EpochLost, match="another database"):
        await agree(house.redis, other, house.partitions)
    await house.redis.execute("SET", house.partitions[0].epoch, "theirs")
    with pytest.raises(EpochLost, match="another database"):
        await agree(house.redis, house.database, house.partitions)
    await other.close()


async def test_another_number_of_partitions_is_refused(house: House) -> None:
    with pytest.raises(ConfigError, match=r"redis\.partitions is 8, but .* with 4"):
        await agree(house.redis, house.database, [Partition.at(number) for number in range(8)])


async def test_a_first_start_that_died_halfway_is_finished_by_the_next(house: House) -> None:
    await house.database.execute("set_meta", key="epoch_state", value="new")
    await house.redis.execute("DEL", house.partitions[1].epoch)
    epoch = await agree(house.redis, house.database, house.partitions)
    assert await house.redis.execute("GET", house.partitions[1].epoch) == epoch.encode()
