"""The subjects by name, for those who compare them without starting them."""

DIRECT = "direct"
YARDSTICK = "nginx"
BARE = "aiohttp"
OURS = "farebox"
LEDGER = "ledger"  # a load on Redis alone, not a scenario of calls
OURS_WITH_TWO_WORKERS = "farebox, 2 workers"
