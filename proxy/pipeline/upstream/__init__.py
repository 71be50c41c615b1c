"""The connection to a provider, behind a narrow interface: open a call, start it, read its pieces, close it."""

from proxy.pipeline.upstream.client import UpstreamClient
from proxy.pipeline.upstream.dialer import client_tls
from proxy.pipeline.upstream.exchange import Exchange
from proxy.pipeline.upstream.pool import PoolStats
from proxy.pipeline.upstream.settings import ForwardProxy, Origin, PoolLimits, Timeouts

__all__ = ["Exchange", "ForwardProxy", "Origin", "PoolLimits", "PoolStats", "Timeouts", "UpstreamClient", "client_tls"]
