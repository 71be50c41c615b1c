"""The long version of tests/integration/test_ledger_model.py: 2,000 histories of 50 steps on every server."""

import pytest

from tests.support.ledger_histories import compare
from tests.support.redis_server import RedisServer, each_redis_server

__all__ = ["each_redis_server"]

HISTORIES = 2_000


@pytest.mark.soak
def test_scripts_and_model_agree_at_length(each_redis_server: RedisServer) -> None:
    compare(each_redis_server, HISTORIES)
