"""One installation for all tests of a file."""

from collections.abc import Iterator

import pytest

from tests.support.admin_api import AdminApi
from tests.support.installation import Installation
from tests.support.mock_provider import MockProvider


@pytest.fixture(scope="module")
def provider() -> Iterator[MockProvider]:
    with MockProvider() as running:
        yield running


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory, provider: MockProvider) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("farebox"), provider) as running:
        yield running


@pytest.fixture(scope="module")
def api(farebox: Installation) -> AdminApi:
    return AdminApi(farebox.admin_url)
