"""The subjects by name, for those who compare them without starting them."""

DIRECT = "direct"
YARDSTICK = "nginx"
BARE = "aiohttp"
OURS = "farebox"
OURS_UNMETERED = "farebox, metering off"  # its connections alone, joined by the bench
LITELLM = "litellm"
PORTKEY = "portkey"
PEERS = ("envoy", LITELLM, "otari", PORTKEY, "mlflow", "tensorzero", "bifrost")  # gateways of others
LEDGER = "ledger"  # a load on Redis alone, not a scenario of calls
OURS_WITH_TWO_WORKERS = "farebox, 2 workers"
OURS_IN_PART = (
    "farebox, 1 worker on a third of a core"  # what two are compared with where two whole cores cannot be had
)
PART = 1 / 3  # of a core
