"""What a key is confined to holds on the data listener, from the next call on, narrowed or widened."""

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.support.admin_api import AdminApi
from tests.support.installation import MODEL, Installation
from tests.support.mock_provider import MockProvider
from tests.support.processes import until
from tests.support.small_call import call


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory, provider: MockProvider) -> Iterator[Installation]:
    """One behind proxies on 127.0.0.1."""
    trusted = 'trusted_proxies = ["127.0.0.0/8"]'
    with Installation(tmp_path_factory.mktemp("farebox"), provider, server=trusted) as running:
        yield running


@pytest.fixture(scope="module")
def account(api: AdminApi) -> str:
    return api.account("confined", credits="100")


def got(farebox: Installation, key: str, path: str = "/v1/models", *, forwarded: str = "") -> int:
    """The status of a GET."""
    headers = {"authorization": f"Bearer {key}"} | ({"x-forwarded-for": forwarded} if forwarded else {})
    try:
        with urllib.request.urlopen(urllib.request.Request(farebox.url + path, headers=headers), timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return int(error.code)


def test_paths(farebox: Installation, api: AdminApi, account: str) -> None:
    key = api.made("accounts", account, "keys", body={"paths": ["/v1/chat/*", "/v1/models"]})["key"]
    assert call(farebox, key) == 200
    assert got(farebox, key) == 200
    assert call(farebox, key, "/v1/completions") == 403
    assert call(farebox, key, "/local/v1/chat/completions") == 403
    assert got(farebox, key, f"/v1/models/{MODEL}") == 403


def test_networks(farebox: Installation, api: AdminApi, account: str) -> None:
    key = api.made("accounts", account, "keys", body={"networks": ["203.0.113.0/24"]})["key"]
    assert got(farebox, key) == 403
    assert got(farebox, key, forwarded="203.0.113.9") == 200
    assert got(farebox, key, forwarded="203.0.113.9, 127.0.0.1") == 200
    assert got(farebox, key, forwarded="203.0.113.9, 198.51.100.1") == 403  # the nearer one is the client
    assert got(farebox, key, forwarded="203.0.113.9, nonsense") == 403
    near = api.made("accounts", account, "keys", body={"networks": ["127.0.0.0/8"]})["key"]
    assert call(farebox, near) == 200


def test_what_is_narrowed_and_widened_holds_from_the_next_call_on(
    farebox: Installation, api: AdminApi, account: str
) -> None:
    made = api.made("accounts", account, "keys", body={})
    assert call(farebox, made["key"]) == 200
    narrow = [{"paths": ["/v1/models"]}, {"networks": ["203.0.113.0/24"]}, {"models": ["another"]}]
    for change in narrow:
        assert api.patch("keys", made["id"], body=change).status == 200
        assert call(farebox, made["key"]) == 403, change
        assert api.patch("keys", made["id"], body=dict.fromkeys(change)).status == 200
        # What was read less than a second ago is not read again for a refusal.
        until(lambda: call(farebox, made["key"]) == 200, 3)
