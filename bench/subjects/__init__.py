"""What is measured: each subject is a context manager that starts it and yields how to reach and weigh it."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from bench.names import BARE, DIRECT, OURS, OURS_IN_PART, OURS_UNMETERED, OURS_WITH_TWO_WORKERS, YARDSTICK
from bench.subjects.bare import bare_aiohttp, unmetered
from bench.subjects.base import Place, Running
from bench.subjects.direct import direct
from bench.subjects.farebox import farebox, farebox_in_part, farebox_with_two_workers
from bench.subjects.nginx import nginx
from bench.subjects.peers import PEERS, RECIPES

Subject = Callable[[Place], AbstractContextManager[Running]]

SUBJECTS: dict[str, Subject] = {
    DIRECT: direct,
    YARDSTICK: nginx,
    BARE: bare_aiohttp,
    OURS_UNMETERED: unmetered,
    OURS: farebox,
    OURS_IN_PART: farebox_in_part,
    OURS_WITH_TWO_WORKERS: farebox_with_two_workers,
}
"""The subjects of every run; PEERS are those of a run that asks for them."""

__all__ = ["PEERS", "RECIPES", "SUBJECTS", "Place", "Running", "Subject"]
