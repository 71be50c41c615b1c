"""One installation for the files of a run (each of its processes): the real `farebox serve`, an embedded Redis, and a provider
that answers with known usage. Tests make accounts of their own, and leave switches as they found them."""

from collections.abc import Iterator

import pytest

from tests.support.credits_dev import Dev
from tests.support.installation import ADMIN_TOKEN, Installation
from tests.support.mock_provider import MockProvider
from tests.support.surfaces import OTHER


@pytest.fixture(scope="session")
def provider() -> Iterator[MockProvider]:
    with MockProvider() as running:
        yield running


@pytest.fixture(scope="session")
def farebox(tmp_path_factory: pytest.TempPathFactory, provider: MockProvider) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("farebox"), provider, extra=OTHER) as running:
        yield running


@pytest.fixture(scope="session")
def admin(farebox: Installation) -> Dev:
    """The administrator of credits.dev's surface."""
    return Dev(farebox, ADMIN_TOKEN)
