"""What every test gets: no settings of the machine's user, and hypothesis profiles."""

import os

import pytest
from hypothesis import HealthCheck, settings

# The machine is shared by parallel workers: a slow example is no failure, a wrong one is.
settings.register_profile("test", deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("soak" if os.environ.get("FAREBOX_SOAK") else "test")

_PRIVATE = ("_API_KEY", "_BASE_URL", "_AUTH_TOKEN")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No API key, base URL or configuration of the person who runs the tests reaches a test."""
    for name in list(os.environ):
        if name.endswith(_PRIVATE) or name in {"FAREBOX_CONFIG", "FAREBOX_ADMIN_TOKEN", "FAREBOX_PEPPER"}:
            monkeypatch.delenv(name)
