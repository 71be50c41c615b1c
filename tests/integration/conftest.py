"""Fixtures of the integration tests: real servers."""

from tests.support.authority import authority, ca_file
from tests.support.redis_server import each_redis_server, each_redis_url, redis_server, redis_url

__all__ = ["authority", "ca_file", "each_redis_server", "each_redis_url", "redis_server", "redis_url"]
