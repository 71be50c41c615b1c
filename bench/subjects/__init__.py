"""What is measured: each subject is a context manager that starts it and yields how to reach and weigh it."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from bench.subjects.bare_aiohttp import bare_aiohttp
from bench.subjects.base import Place, Running
from bench.subjects.direct import direct
from bench.subjects.farebox import farebox
from bench.subjects.nginx import nginx

Subject = Callable[[Place], AbstractContextManager[Running]]

DIRECT = "direct"
YARDSTICK = "nginx"
OURS = "farebox"

SUBJECTS: dict[str, Subject] = {DIRECT: direct, YARDSTICK: nginx, "aiohttp": bare_aiohttp, OURS: farebox}

__all__ = ["DIRECT", "OURS", "SUBJECTS", "YARDSTICK", "Place", "Running", "Subject"]
