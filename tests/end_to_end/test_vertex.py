"""Vertex AI and the Gemini API behind a running Farebox: whose token, whose project and which answer, in both framings."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt

from tests.support.installation import Installation
from tests.support.processes import until
from tests.support.threaded import PlainHandler, PlainServer

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
PRIVATE = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
TOKEN = "ya29.token-canary"
USAGE = {
    "promptTokenCount": 30,
    "cachedContentTokenCount": 20,
    "candidatesTokenCount": 4,
    "thoughtsTokenCount": 6,
    "totalTokenCount": 40,
}
COUNTERS = {"input": 10, "cache_read": 20, "output": 4, "reasoning": 6}
CHARGE = 10 * 1000 + 20 * 100 + 10 * 2000
_PROVIDERS = """
[providers.vertex]
base_url = "{url}"
service_account_file = "{file}"
project = "ours"
location = "europe-west4"
[providers.placeless]
dialect = "vertex"
base_url = "{url}"
service_account_file = "{file}"
models = ["placeless"]
[providers.gemini]
base_url = "{url}"
api_key = "gemini-api-key-canary"
models = ["gemini-2.5-pro"]
"""
_PRICES = "".join(
    f'[prices."{model}"]\ninput = "1.00"\ncache_read = "0.10"\noutput = "2.00"\n'
    for model in ("gemini-2.5-flash", "gemini-2.5-pro", "placeless")
)


def chunk(text: str, finish: str | None = None) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}} | ({"finishReason": finish} if finish else {})
    return {"candidates": [candidate], "usageMetadata": USAGE}


class Google(PlainServer):
    """Both APIs and the token endpoint."""

    def __init__(self) -> None:
        super().__init__(Answer)
        self.seen: list[tuple[str, str | None, str | None]] = []
        self.tokens = 0


class Answer(PlainHandler):
    server: Google

    def serve(self) -> None:
        body = self.read_body()
        if self.path == "/token":
            jwt.decode(parse_qs(body.decode())["assertion"][0], certs=PUBLIC)
            self.server.tokens += 1
            self.answer("application/json", {"access_token": TOKEN, "expires_in": 3600})
            return
        self.server.seen.append((self.path, self.headers["authorization"], self.headers["x-goog-api-key"]))
        if ":streamGenerateContent" not in self.path:
            self.answer("application/json; charset=UTF-8", chunk("Hello", "STOP"))
        elif "alt=sse" in self.path:
            events = b"".join(b"data: %b\r\n\r\n" % json.dumps(one).encode() for one in stream())
            self.answer("text/event-stream", events)
        else:
            self.answer("application/json; charset=UTF-8", stream())

    def answer(self, kind: str, body: Any) -> None:
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def stream() -> list[dict[str, Any]]:
    return [chunk("Hel"), chunk("lo", "STOP")]


@pytest.fixture(scope="module")
def google() -> Iterator[Google]:
    with Google() as server:
        yield server


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory, google: Google) -> Iterator[Installation]:
    directory: Path = tmp_path_factory.mktemp("farebox")
    file = directory / "account.json"
    account = {"type": "service_account", "client_email": "meter@ours.iam", "private_key_id": "1"}
    file.write_text(json.dumps(account | {"private_key": PRIVATE, "token_uri": f"{google.origin}/token"}))
    extra = _PRICES + _PROVIDERS.format(url=google.origin, file=file)
    with Installation(directory, google.origin, extra=extra) as running:
        yield running
        running.audit()


@pytest.fixture(scope="module")
def key(farebox: Installation) -> str:
    return farebox.account("main", "1000")


def call(farebox: Installation, path: str, **headers: str) -> tuple[int, bytes]:
    body = json.dumps({"contents": [{"parts": [{"text": "Hi"}]}]}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(
        farebox.url + path, data=body, headers={"content-type": "application/json"} | named
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def records_of(farebox: Installation, model: str) -> list[dict[str, Any]]:
    """The two calls of a model."""

    def found() -> list[dict[str, Any]]:
        return [record for record in farebox.usage("main") if record["model"] == model]

    until(lambda: len(found()) >= 2)
    return found()


def test_vertex_is_called_with_our_token_in_our_project(farebox: Installation, key: str, google: Google) -> None:
    theirs = "projects/theirs/locations/us-central1/publishers/google/models/gemini-2.5-flash"
    ours = "projects/ours/locations/europe-west4/publishers/google/models/gemini-2.5-flash"
    for prefix in ("", "/vertex"):
        status, body = call(farebox, f"{prefix}/v1beta1/{theirs}:generateContent", authorization=f"Bearer {key}")
        assert (status, json.loads(body)["usageMetadata"]) == (200, USAGE)
        assert google.seen[-1] == (f"/v1beta1/{ours}:generateContent", f"Bearer {TOKEN}", None)
    assert google.tokens == 1
    record = records_of(farebox, "gemini-2.5-flash")[1]
    assert (record["provider"], record["model"], record["dialect"]) == ("vertex", "gemini-2.5-flash", "vertex")
    assert (record["usage"], record["charge_microcredits"]) == (COUNTERS, CHARGE)


def test_a_caller_does_not_choose_the_project_that_pays(farebox: Installation, key: str, google: Google) -> None:
    seen = len(google.seen)
    path = "/placeless/v1/projects/any/locations/any/publishers/google/models/placeless:generateContent"
    status, body = call(farebox, path, authorization=f"Bearer {key}")
    assert status == 404
    assert json.loads(body)["error"]["status"] == "NOT_FOUND"
    assert len(google.seen) == seen


def test_both_framings_of_a_stream(farebox: Installation, key: str, google: Google) -> None:
    path = "/v1beta/models/gemini-2.5-pro:streamGenerateContent"
    status, body = call(farebox, f"{path}?alt=sse", x_goog_api_key=key)
    assert (status, body.count(b"data: ")) == (200, 2)
    assert google.seen[-1] == (f"{path}?alt=sse", None, "gemini-api-key-canary")
    status, body = call(farebox, f"{path}?key={key}")
    assert (status, json.loads(body)) == (200, stream())
    assert google.seen[-1] == (path, None, "gemini-api-key-canary")
    for record in records_of(farebox, "gemini-2.5-pro"):
        assert (record["usage"], record["charge_microcredits"], record["stream"]) == (COUNTERS, CHARGE, True)


def test_an_answer_that_could_not_be_metered_is_refused(farebox: Installation, key: str) -> None:
    status, body = call(farebox, "/v1beta/models/gemini-2.5-pro:generateContent?alt=proto", x_goog_api_key=key)
    assert status == 400
    assert json.loads(body)["error"]["status"] == "INVALID_ARGUMENT"
    assert call(farebox, "/v1beta/models/gemini-2.5-pro:batchGenerateContent", x_goog_api_key=key)[0] == 404
