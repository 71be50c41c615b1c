"""The subjects by name, for those who compare them without starting them."""

DIRECT = "direct"
YARDSTICK = "nginx"
BARE = "aiohttp"
OURS = "farebox"
OURS_WITH_TWO_WORKERS = "farebox, 2 workers"
