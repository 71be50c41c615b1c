"""Which provider a call goes to, when another one is tried, and what is open at all: whole installations, real sockets."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from tests.support.installation import Installation, free_port
from tests.support.mock_provider import PROVIDER_KEY
from tests.support.processes import until
from tests.support.scripted_provider import Answer, Asked, ScriptedProvider, stream_of

CHAT = "/v1/chat/completions"
TIMES = 'input = "1.00"\noutput = "2.00"'
# At 1000 credits a dollar: 7 input tokens of 1,000 microcredits and 5 output tokens of 2,000.
CHARGE = 17_000

CONFIG = """
[providers.heavy]
base_url = "{url}/heavy/v1"
api_key = "key-of-heavy-0123"
models = ["shared-model", "own-*", "with-alias"]
weight = 3
[providers.light]
base_url = "{url}/light/v1"
api_key = "key-of-light-0123"
models = ["shared-model"]
[providers.gone]
base_url = "http://127.0.0.1:{nobody}/v1"
api_key = "key-of-gone-01234"
models = ["reached-model", "nobody-model"]
weight = 1000000
[providers.there]
base_url = "{url}/there/v1"
api_key = "key-of-there-0123"
models = ["reached-model"]
weight = 0
[providers.busy]
base_url = "{url}/busy/v1"
api_key = "key-of-busy-01234"
models = ["busy-model"]
weight = 1000000
[providers.calm]
base_url = "{url}/calm/v1"
api_key = "key-of-calm-01234"
models = ["busy-model"]
weight = 0
[providers.keyed]
base_url = "{url}/keyed/v1"
api_keys = ["key-one-of-keyed", "key-two-of-keyed"]
models = ["keyed-model"]
[providers.dear]
base_url = "{url}/dear/v1"
api_key = "key-of-dear-01234"
models = ["dear-model"]
weight = 0
[providers.cheap]
base_url = "{url}/cheap/v1"
api_key = "key-of-cheap-0123"
models = ["cheap-model"]
[providers.gemini]
dialect = "gemini"
base_url = "{url}/gemini"
api_key = "key-of-gemini-012"
models = ["gemini-*", "gemini-own", "tuned/own"]
[providers.claude]
dialect = "anthropic"
base_url = "{url}/claude"
api_key = "key-of-claude-012"
models = ["claude-x"]
[providers.rock]
dialect = "bedrock"
base_url = "{url}/rock"
api_key = "key-of-rock-01234"
models = ["arn:*"]
[aliases]
"public-name" = "heavy/with-alias"
"either-price" = ["dear/dear-model", "cheap/cheap-model"]
"gemini-public" = "gemini/tuned/own"
[[open]]
provider = "heavy"
path = "/files"
shared = "/v1/files"
price = "2.5"
[[open]]
provider = "heavy"
method = "GET"
path = "/files/{{id}}"
shared = "/v1/files/{{id}}"
price = 0
[prices."*"]
{times}
[prices."dear-model"]
input = "100.00"
output = "200.00"
[prices."cheap-model"]
{times}
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory, provider: ScriptedProvider) -> Iterator[Installation]:
    with install(tmp_path_factory.mktemp("farebox"), provider) as running:
        yield running


def install(folder: Path, provider: ScriptedProvider, upstream: str = "rest_after_failures = 1000") -> Installation:
    extra = CONFIG.format(url=provider.url("x")[:-2], nobody=free_port(), times=TIMES)
    return Installation(folder, provider.url("local"), upstream=upstream, extra=extra)


class Account:
    """An account of its own for a test, so that its records are its own."""

    def __init__(self, farebox: Installation, name: str, credits_: str = "1000") -> None:
        self.farebox, self.name = farebox, name
        self.key = farebox.account(name, credits_)
        self.calls = 0

    def ask(
        self, path: str = CHAT, method: str = "POST", *, headers: dict[str, str] | None = None, **members: Any
    ) -> Any:
        credential = {"authorization": f"Bearer {self.key}"} if headers is None else headers
        body = json.dumps(members).encode() if members else None
        kind = {"content-type": "application/json"} if members else {}
        return httpx.request(method, self.farebox.url + path, content=body, headers={**kind, **credential}, timeout=20)

    def chat(self, model: str, **members: Any) -> Any:
        self.calls += 1
        return self.ask(model=model, messages=[{"role": "user", "content": "hello"}], max_tokens=9, **members)

    def records(self, count: int | None = None) -> list[dict[str, Any]]:
        """Oldest first."""
        return self.farebox.usage(self.name, self.calls if count is None else count)[::-1]


def since(provider: ScriptedProvider, start: int) -> list[Asked]:
    return provider.asked[start:]


def test_calls_are_shared_by_weight(farebox: Installation, provider: ScriptedProvider) -> None:
    account, start = Account(farebox, "weights"), len(provider.asked)
    for _ in range(12):
        assert account.chat("shared-model").status_code == 200
    assert Counter(one.provider for one in since(provider, start)) == {"heavy": 9, "light": 3}
    assert Counter(record["provider"] for record in account.records()) == {"heavy": 9, "light": 3}
    assert all(one.headers["authorization"] == f"Bearer key-of-{one.provider}-0123" for one in since(provider, start))


def test_several_keys_of_a_provider_share_its_calls(farebox: Installation, provider: ScriptedProvider) -> None:
    account, start = Account(farebox, "keys"), len(provider.asked)
    for _ in range(6):
        account.chat("keyed-model")
    used = Counter(one.headers["authorization"] for one in since(provider, start))
    assert used == {"Bearer key-one-of-keyed": 3, "Bearer key-two-of-keyed": 3}


def test_an_alias_goes_out_under_the_provider_s_own_name(farebox: Installation, provider: ScriptedProvider) -> None:
    account, start = Account(farebox, "aliases"), len(provider.asked)
    assert account.chat("public-name").status_code == 200
    (asked,) = since(provider, start)
    assert asked.json["model"] == "with-alias"
    (record,) = account.records()
    assert (record["model"], record["provider"], record["charge_microcredits"]) == ("public-name", "heavy", CHARGE)


def test_an_alias_in_a_path(farebox: Installation, provider: ScriptedProvider) -> None:
    start, account = len(provider.asked), Account(farebox, "path aliases")
    provider.scripts["gemini"].append(Answer(body=json.dumps({"candidates": [], "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 0, "totalTokenCount": 3}}).encode()))  # fmt: skip
    answer = account.ask("/v1beta/models/gemini-public:generateContent", contents=[{"parts": [{"text": "hi"}]}])
    assert answer.status_code == 200, answer.text
    assert since(provider, start)[0].target == "/v1beta/models/tuned%2Fown:generateContent"


def test_an_encoded_slash_stays_encoded(farebox: Installation, provider: ScriptedProvider) -> None:
    account, start = Account(farebox, "slashes"), len(provider.asked)
    usage = {"inputTokens": 7, "outputTokens": 5, "totalTokens": 12}
    message = {"role": "assistant", "content": [{"text": "hi"}]}
    whole = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage, "metrics": {"latencyMs": 1}}
    provider.scripts["rock"].append(Answer(body=json.dumps(whole).encode()))
    model = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.some-model-v1%3A0"
    answer = account.ask(f"/model/{model}/converse", messages=[{"role": "user", "content": [{"text": "hi"}]}])
    assert answer.status_code == 200, answer.text
    (asked,) = since(provider, start)
    assert (asked.target, asked.headers["authorization"]) == (f"/model/{model}/converse", "Bearer key-of-rock-01234")
    (record,) = account.records(1)
    assert record["model"] == "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.some-model-v1:0"
    assert record["charge_microcredits"] == CHARGE


def test_another_one_is_asked_before_a_byte_was_sent(farebox: Installation, provider: ScriptedProvider) -> None:
    account, start = Account(farebox, "connect"), len(provider.asked)
    answer = account.chat("reached-model")
    assert answer.status_code == 200
    assert [one.provider for one in since(provider, start)] == ["there"]
    (record,) = account.records()
    assert (record["provider"], record["attempts"], record["charge_microcredits"]) == ("there", 2, CHARGE)
    assert account.farebox.balance(account.name)["microcredits"] == 1000 * 10**6 - CHARGE
    assert account.farebox.balance(account.name)["held"] == 0
    until(lambda: 'model="reached-model"' in farebox.metrics(), 5)
    calls = [line for line in farebox.metrics().splitlines() if 'model="reached-model"' in line]
    assert all('provider="there"' in line for line in calls), "the one that answered is the one that is counted"


@pytest.mark.parametrize("status", [401, 402, 429, 503, 529])
@pytest.mark.parametrize("stream", [False, True])
def test_another_one_is_asked_after_an_answer_that_says_not_processed(
    farebox: Installation, provider: ScriptedProvider, status: int, *, stream: bool
) -> None:
    account, start = Account(farebox, f"busy {status} {stream}"), len(provider.asked)
    provider.scripts["busy"].append(Answer(status, b'{"error":{"message":"later"}}', {"retry-after": "1"}))
    answer = account.chat("busy-model", stream=stream)
    assert answer.status_code == 200
    assert [one.provider for one in since(provider, start)] == ["busy", "calm"]
    first, second = since(provider, start)
    assert first.body == second.body
    assert "key-of-busy" not in str(second.headers)
    (record,) = account.records()
    assert (record["provider"], record["attempts"], record["charge_microcredits"]) == ("calm", 2, CHARGE)


def test_of_several_refusals_the_last_is_the_answer(farebox: Installation, provider: ScriptedProvider) -> None:
    account, start = Account(farebox, "all busy"), len(provider.asked)
    provider.scripts["busy"].append(Answer(529, b'{"error":{"message":"first"}}'))
    provider.scripts["calm"].append(Answer(429, b'{"error":{"message":"second"}}', {"retry-after": "7"}))
    answer = account.chat("busy-model")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert answer.json()["error"]["message"] == "second"
    assert len(since(provider, start)) == 2
    (record,) = account.records()
    assert (record["attempts"], record["charge_microcredits"], record["status"]) == (2, 0, 429)


@pytest.mark.parametrize("status", [400, 403, 404, 500, 502, 504])
def test_any_other_answer_is_the_answer(farebox: Installation, provider: ScriptedProvider, status: int) -> None:
    account, start = Account(farebox, f"answer {status}"), len(provider.asked)
    provider.scripts["busy"].append(Answer(status, b'{"error":{"message":"no"}}'))
    assert account.chat("busy-model").status_code == status
    assert [one.provider for one in since(provider, start)] == ["busy"]
    assert account.records()[0]["attempts"] == 1


def test_nothing_is_repeated_once_a_byte_was_sent(farebox: Installation, provider: ScriptedProvider) -> None:
    account, start = Account(farebox, "sent"), len(provider.asked)
    provider.scripts["busy"].append(Answer(hang_up=True))
    assert account.chat("busy-model").status_code == 502
    whole = stream_of("an answer that breaks off")
    provider.scripts["busy"].append(Answer(body=whole, headers={"content-type": "text/event-stream"}, break_off=300))
    with pytest.raises(httpx.RemoteProtocolError):
        account.chat("busy-model", stream=True)
    assert [one.provider for one in since(provider, start)] == ["busy", "busy"]
    assert [record["attempts"] for record in account.records()] == [1, 1]


def test_nobody_to_ask_is_said_once_all_are_tried(farebox: Installation) -> None:
    account = Account(farebox, "nobody")
    answer = account.chat("nobody-model")
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_unreachable"
    (record,) = account.records()
    assert (record["charge_microcredits"], record["settlement_basis"]) == (0, "none")
    assert farebox.balance("nobody")["held"] == 0


def test_one_hold_covers_the_dearest_candidate(farebox: Installation, provider: ScriptedProvider) -> None:
    account, start = Account(farebox, "dearest"), len(provider.asked)
    assert account.chat("either-price").status_code == 200
    (asked,) = since(provider, start)
    (record,) = account.records()
    assert (asked.provider, record["provider"], record["charge_microcredits"]) == ("cheap", "cheap", CHARGE)
    # The dear candidate's 9 tokens alone would cost 1.8 credits; the price of the record is the one that was charged at.
    assert record["hold_microcredits"] > 1_800_000
    provider.scripts["cheap"].append(Answer(503))
    assert account.chat("either-price").status_code == 200
    first, second = account.records()
    assert (second["provider"], second["attempts"], second["charge_microcredits"]) == ("dear", 2, 100 * CHARGE)
    assert first["price_version"] != second["price_version"]
    poor = Account(farebox, "poor", "1.5")
    assert poor.chat("either-price").status_code == 402
    assert poor.chat("shared-model").status_code == 200


def test_one_that_fails_is_left_alone_until_its_rest_is_over(tmp_path: Path, provider: ScriptedProvider) -> None:
    with install(tmp_path, provider, "rest_after_failures = 2\nrest_s = 1.5") as farebox:
        account, start = Account(farebox, "rests"), len(provider.asked)
        provider.scripts["busy"].extend([Answer(503), Answer(500)])
        assert [account.chat("busy-model").status_code for _ in range(2)] == [200, 500]
        assert [account.chat("busy-model").status_code for _ in range(3)] == [200, 200, 200]
        asked = [one.provider for one in since(provider, start)]
        assert asked == ["busy", "calm", "busy", "calm", "calm", "calm"]
        time.sleep(1.6)  # its first rest is over
        provider.scripts["busy"].append(Answer(503))
        assert [account.chat("busy-model").status_code for _ in range(2)] == [200, 200]
        assert [one.provider for one in since(provider, start)][6:] == ["busy", "calm", "calm"], "one call tries"
        time.sleep(3.1)  # its second rest, twice as long
        assert [account.chat("busy-model").status_code for _ in range(2)] == [200, 200]
        assert [one.provider for one in since(provider, start)][9:] == ["busy", "busy"], (
            "and a good answer ends the rest"
        )
        provider.scripts["keyed"].extend([Answer(500)] * 4)
        for _ in range(4):
            assert account.chat("keyed-model").status_code == 500
        assert account.chat("keyed-model").status_code == 200, "where all of them rest, the least bad is asked"


def test_lists_of_models(farebox: Installation) -> None:
    account = Account(farebox, "lists")
    openai = account.ask("/v1/models", "GET").json()
    names = [model["id"] for model in openai["data"]]
    assert openai["object"] == "list"
    assert {"public-name", "shared-model", "busy-model", "test-model"} <= set(names)
    assert len(names) == len(set(names))
    assert not {"claude-x", "gemini-own", "own-*"} & set(names)
    anthropic = account.ask("/v1/models", "GET", headers={"x-api-key": account.key, "anthropic-version": "2023-06-01"})
    assert {model["id"] for model in anthropic.json()["data"]} == {"claude-x", "test-model", "unpriced-model"}
    assert anthropic.json()["has_more"] is False
    for headers, query in (({"x-goog-api-key": account.key}, ""), ({}, f"?key={account.key}")):
        for path in ("/v1beta/models", "/v1/models", "/gemini/gemini/v1beta/models"):
            gemini = account.ask(path + query, "GET", headers=headers).json()
            assert {"models/gemini-own"} <= {model["name"] for model in gemini["models"]}
    own = account.ask("/light/light/v1/models", "GET").json()["data"]
    assert [(model["id"], model["owned_by"]) for model in own] == [("shared-model", "light")]
    assert account.ask("/v1/models/own-thing", "GET").json()["id"] == "own-thing"
    assert account.ask("/v1beta/models/gemini-own", "GET", headers={"x-goog-api-key": account.key}).json()["name"] == "models/gemini-own"  # fmt: skip
    missing = account.ask("/v1/models/nothing", "GET")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
    assert account.ask("/v1/models", "GET", headers={}).status_code == 401
    assert account.ask("/v1/models", "POST", model="x").status_code in {404, 405}
    assert farebox.usage(account.name) == []


def test_a_list_has_only_what_the_key_may_use(farebox: Installation) -> None:
    farebox.command("account", "create", "bound", "--credits", "10")
    key = farebox.command("key", "create", "bound", "--model", "shared-model", "--model", "own-*")["key"]
    answer = httpx.get(f"{farebox.url}/v1/models", headers={"authorization": f"Bearer {key}"})
    assert [model["id"] for model in answer.json()["data"]] == ["shared-model"]
    hidden = httpx.get(f"{farebox.url}/v1/models/busy-model", headers={"authorization": f"Bearer {key}"})
    assert hidden.status_code == 404


def test_a_key_in_the_query_is_a_credential_and_goes_no_further(
    farebox: Installation, provider: ScriptedProvider
) -> None:
    account, start = Account(farebox, "query"), len(provider.asked)
    path = f"/v1beta/models/gemini%2Down:generateContent?key={account.key}&alt=json&k%65y=more"
    contents = [{"parts": [{"text": "hi"}]}]
    assert account.ask(path, headers={}, contents=contents).status_code == 401, "two of them, one in disguise"
    path = path.removesuffix("&k%65y=more")
    assert account.ask(path, headers={"x-goog-api-key": account.key}, contents=contents).status_code == 401
    answer = account.ask(path, headers={}, contents=contents)
    assert answer.status_code == 200, answer.text
    (asked,) = since(provider, start)
    assert asked.target == "/v1beta/models/gemini%2Down:generateContent?alt=json", "as it came"
    assert asked.headers["x-goog-api-key"] == "key-of-gemini-012"
    assert account.key not in str(asked)
    assert account.key not in farebox.log.read_text()
    assert account.key not in json.dumps(account.records(1))
    openai = account.ask(f"{CHAT}?key={account.key}", headers={}, model="shared-model", messages=[])
    assert openai.status_code == 401, "other dialects have no credential in the query"


def test_opened_paths_cost_their_price(farebox: Installation, provider: ScriptedProvider) -> None:
    account, start = Account(farebox, "opened"), len(provider.asked)
    upload = httpx.post(
        f"{farebox.url}/v1/files",
        files={"file": ("a.txt", b"\x00\xff text")},
        headers={"authorization": f"Bearer {account.key}"},
    )
    assert (upload.status_code, upload.headers["x-farebox-charge"]) == (200, "2.5")
    assert account.ask("/heavy/heavy/v1/files/file-1", "GET").headers["x-farebox-charge"] == "0"
    first, second = since(provider, start)
    assert first.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b"\x00\xff text" in first.body
    assert (second.method, second.target, second.body) == ("GET", "/v1/files/file-1", b"")
    assert "content-type" not in second.headers
    provider.scripts["heavy"].append(Answer(400))
    assert account.ask("/v1/files", model="x").status_code == 400
    records = account.records(3)
    assert [record["charge_microcredits"] for record in records] == [2_500_000, 0, 0]
    assert [record["provider"] for record in records] == ["heavy"] * 3
    assert records[0]["usage"] == {"requests": 1}
    poor = Account(farebox, "poor opener", "2")
    assert poor.ask("/v1/files", model="x").status_code == 402
    assert poor.ask("/v1/files/a", "GET").status_code == 200


def test_what_is_free_holds_nothing_and_is_limited_and_recorded(
    farebox: Installation, provider: ScriptedProvider
) -> None:
    farebox.command("account", "create", "free")
    key = farebox.command("key", "create", "free", "--requests-per-minute", "2")["key"]
    start = len(provider.asked)
    statuses = []
    for _ in range(3):
        provider.scripts["claude"].append(Answer(body=b'{"input_tokens": 11}'))
        answer = httpx.post(
            f"{farebox.url}/v1/messages/count_tokens",
            json={"model": "claude-x", "messages": [{"role": "user", "content": "hello"}]},
            headers={"x-api-key": key, "anthropic-version": "2023-06-01"},
        )
        statuses.append(answer.status_code)
    provider.scripts["claude"].clear()
    assert statuses == [200, 200, 429], answer.text
    assert len(since(provider, start)) == 2
    for record in farebox.usage("free", 2):
        assert (record["hold_microcredits"], record["charge_microcredits"], record["status"]) == (0, 0, 200)
    assert farebox.balance("free")["microcredits"] == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("DELETE", "/v1/files/file-1"), ("GET", "/v1/files"), ("POST", "/light/light/v1/files"), ("GET", "/v1/files/a%2fb")),
        *(("POST", "/v1/batches"), ("POST", "/v1/messages/batches"), ("POST", "/v1beta/models/gemini-x:batchGenerateContent")),
        *(("POST", "/v1/fine_tuning/jobs"), ("GET", "/v1/files/.."), ("GET", "/v1/files/%2e%2e"), ("POST", "/v1/realtime/sessions")),
        *(("POST", "/v1beta/models/a%2f..%2fb:generateContent"), ("GET", "/heavy/heavy/v1/files/a%5cb")),
    ],
)  # fmt: skip
def test_what_is_not_opened_is_closed(
    farebox: Installation, provider: ScriptedProvider, method: str, path: str
) -> None:
    account, start = _any_account(farebox), len(provider.asked)
    with httpx.Client() as client:
        request = client.build_request(method, farebox.url, headers={"authorization": f"Bearer {account}"})
        request.url = request.url.copy_with(raw_path=path.encode())
        answer = client.send(request)
    assert answer.status_code in {400, 404, 405}, answer.text
    assert len(answer.json()["error"]["message"]) > 10
    if answer.status_code == 405:
        assert answer.headers["allow"]
    assert not since(provider, start)


def test_web_sockets_are_refused_in_words(farebox: Installation) -> None:
    headers = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13", "sec-websocket-key": "x"}
    key = _any_account(farebox)
    for path in ("/v1/realtime?model=shared-model", "/v1/responses", "/v1beta/models"):
        answer = httpx.get(farebox.url + path, headers={**headers, "authorization": f"Bearer {key}"})
        assert answer.status_code == 426, "this status has clients take HTTP instead"
        assert answer.headers["upgrade"] == "HTTP/1.1"
        assert "WebSocket" in answer.json()["error"]["message"]


def test_a_provider_s_own_headers_and_ours(farebox: Installation, provider: ScriptedProvider) -> None:
    account, start = Account(farebox, "headers"), len(provider.asked)
    sent = {
        "authorization": f"Bearer {account.key}",
        "content-type": "application/json; charset=utf-8",
        "cookie": "a=b",
        "openai-organization": "org-x",
        "x-goog-user-project": "other",
        "openai-beta": "assistants=v2",
    }
    answer = account.ask(f"{CHAT}?api-version=1&x=y", headers=sent, model="own-model", messages=[])
    assert answer.status_code == 200
    (asked,) = since(provider, start)
    assert asked.target == "/v1/chat/completions"
    assert asked.headers["content-type"] == "application/json; charset=utf-8"
    assert asked.headers["openai-beta"] == "assistants=v2"
    assert not {"cookie", "openai-organization", "x-goog-user-project"} & set(asked.headers)
    assert PROVIDER_KEY not in str(asked.headers)
    twice = httpx.post(
        farebox.url + CHAT,
        content=b"{}",
        headers=[("authorization", f"Bearer {account.key}"), ("content-type", "a/b"), ("content-type", "c/d")],
    )
    assert twice.status_code == 400, "nobody can read a body in two ways"


def test_the_books_agree(farebox: Installation) -> None:
    farebox.audit()


_accounts: dict[int, str] = {}


def _any_account(farebox: Installation) -> str:
    if id(farebox) not in _accounts:
        _accounts[id(farebox)] = farebox.account("anybody", "10")
    return _accounts[id(farebox)]
