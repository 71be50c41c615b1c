"""One installation a file: the real `farebox serve`, an embedded Redis, a provider that answers with known usage."""

from collections.abc import Iterator

import pytest

from tests.support.installation import Installation
from tests.support.mock_provider import MockProvider

# A second provider whose model has a price for cached input; nothing listens there.
OTHER = """
[providers.other]
dialect = "openai"
base_url = "http://127.0.0.1:9/v1"
api_key = "other-key"
models = ["cached-model"]
[prices."cached-model"]
input = "1.00"
cache_read = "0.50"
output = "2.00"
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[MockProvider]:
    with MockProvider() as running:
        yield running


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory, provider: MockProvider) -> Iterator[Installation]:
    with Installation(tmp_path_factory.mktemp("farebox"), provider, extra=OTHER) as running:
        yield running
