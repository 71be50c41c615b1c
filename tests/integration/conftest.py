"""Fixtures of the integration tests: real servers."""

from tests.support.redis_server import each_redis_server, each_redis_url, redis_server, redis_url

__all__ = ["each_redis_server", "each_redis_url", "redis_server", "redis_url"]
