"""A cached caller and the real ledger: what changes in SQL stops the very next paid call, in every process."""

import pytest

from proxy.accounts.authenticator import Authenticator
from proxy.accounts.caller import Caller
from proxy.accounts.directory import KeySettings
from proxy.accounts.keys import KeyHasher
from proxy.core.errors import Forbidden, InvalidKey, Unavailable
from proxy.core.ids import new_call_id
from proxy.core.outcomes import Held, HoldRequest, Refused, Stale, UnknownAccount
from tests.support.stores import Build, House, build, house

__all__ = ["build", "house"]


def authenticator_of(house: House) -> Authenticator:
    return Authenticator(house.database, house.ledger, KeyHasher("a pepper of some length"), house.clock)


async def held(house: House, caller: Caller) -> Held | Refused | Stale | UnknownAccount:
    request = HoldRequest(caller.account_id, new_call_id(), 10, 1, 60_000, caller.limits, caller.version, b"{}")
    return await house.ledger.hold(request)


@pytest.mark.parametrize("change", ["revoke", "suspend", "limits"])
async def test_the_next_paid_call_hears_of_a_change(build: Build, change: str) -> None:
    worker, office = await build(), await build()
    account_id = await office.account()
    new = await office.directory.create_key(account_id)
    authenticator, key = authenticator_of(worker), new.key.encode()
    caller = await authenticator.identify(key)
    assert isinstance(await held(worker, caller), Held)

    if change == "revoke":
        await office.directory.revoke_key(new.api_key.id)
    elif change == "suspend":
        await office.directory.suspend(account_id)
    else:
        await office.directory.set_key_limits(new.api_key.id, {"requests_per_minute": 1})
    cached = await authenticator.identify(key)
    assert cached is caller
    assert isinstance(await held(worker, cached), Stale)

    authenticator.forget(cached)
    if change == "limits":
        caller = await authenticator.identify(key)
        assert isinstance(await held(worker, caller), Held)
        assert isinstance(await held(worker, caller), Refused)
    else:
        with pytest.raises(InvalidKey if change == "revoke" else Forbidden):
            await authenticator.identify(key)


async def test_an_account_that_redis_was_never_told_of_is_opened_by_its_first_call(house: House) -> None:
    account_id = await house.account(0)
    new = await house.directory.create_key(account_id, KeySettings())
    await house.redis.execute("DEL", house.ledger.partition_of(account_id).account(account_id))
    authenticator, key = authenticator_of(house), new.key.encode()
    caller = await authenticator.identify(key)
    assert isinstance(await held(house, caller), UnknownAccount)
    authenticator.forget(caller)
    refused = await held(house, await authenticator.identify(key))
    assert isinstance(refused, Refused)
    assert refused.source == "balance"


async def test_redis_away_does_not_lose_a_revocation(house: House) -> None:
    account_id = await house.account()
    new = await house.directory.create_key(account_id)
    authenticator, key = authenticator_of(house), new.key.encode()
    caller = await authenticator.identify(key)
    await house.redis.close()
    with pytest.raises(Unavailable) as caught:
        await house.directory.revoke_key(new.api_key.id)
    assert caught.value.code == "saved_not_announced"
    assert (await house.directory.key(new.api_key.id)).status == "revoked"
    with pytest.raises(Unavailable):  # no paid call without Redis
        await held(house, caller)
