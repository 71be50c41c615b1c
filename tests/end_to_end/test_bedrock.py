"""The AWS SDK in front of Farebox, with nothing changed but its endpoint and its key; behind it a Bedrock that checks signatures."""

import base64
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError
from botocore.session import Session

from proxy.providers.event_stream import write_frame
from tests.support.installation import Installation
from tests.support.threaded import PlainHandler, PlainServer

KEY_ID, SECRET, REGION = "AKIDEXAMPLE", "secret-canary/with+signs", "eu-central-1"
MODEL, ARN = "us.amazon.nova-micro-v1:0", "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.x-v1:0"
USAGE = {"inputTokens": 10, "outputTokens": 4, "totalTokens": 34, "cacheReadInputTokens": 20}
CHARGE = 10 * 1000 + 20 * 100 + 4 * 2000
MESSAGES = [{"role": "user", "content": [{"text": "hi"}]}]
_PROVIDERS = """
[providers.bedrock]
dialect = "bedrock"
base_url = "{url}"
region = "{region}"
access_key_id = "{key_id}"
secret_access_key = "{secret}"
models = ["{model}", "{arn}", "unpriced.model"]
[providers.bearer]
dialect = "bedrock"
base_url = "{url}"
api_key = "bedrock-api-key-canary"
models = ["*"]
[prices."{model}"]
assumed_output_tokens = 40
input = "1.00"
cache_read = "0.10"
output = "2.00"
[prices."{arn}"]
input = "1.00"
cache_read = "0.10"
output = "2.00"
"""


def event(kind: str, **members: Any) -> bytes:
    headers = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return write_frame(headers, json.dumps(members).encode())


class Bedrock(PlainServer):
    """Answers as Bedrock does; 403 for a signature that is not right."""

    def __init__(self) -> None:
        super().__init__(Answer)
        self.paths: list[str] = []
        self.credentials: list[str] = []


class Answer(PlainHandler):
    server: Bedrock

    def serve(self) -> None:
        body = self.read_body()
        self.server.paths.append(self.path)
        authorization = self.headers["authorization"]
        self.server.credentials.append(authorization.partition(" ")[0])
        if authorization != "Bearer bedrock-api-key-canary" and authorization != self.signature(body):
            self.answer(403, "application/json", b'{"message":"The request signature does not match."}')
        elif self.path.endswith("converse"):
            content = {"message": {"role": "assistant", "content": [{"text": "hello"}]}}
            answer = {"output": content, "stopReason": "end_turn", "usage": USAGE, "metrics": {"latencyMs": 1}}
            self.answer(200, "application/json", json.dumps(answer).encode())
        elif self.path.endswith("converse-stream"):
            word = event("contentBlockDelta", contentBlockIndex=0, delta={"text": "word "})
            end = event("messageStop", stopReason="end_turn") + event("metadata", usage=USAGE, metrics={"latencyMs": 1})
            many = 400 if b"much" in body else 1
            self.answer(200, "application/vnd.amazon.eventstream", *[word] * many, end, pause_s=0.005)
        elif self.path.endswith("invoke"):
            self.answer(200, "application/json", b'{"outputs":[{"text":"hello"}]}', counts=(10, 4))
        else:
            metrics = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 10, "outputTokenCount": 4}}
            chunk = base64.b64encode(json.dumps({"generation": "hello", **metrics}).encode()).decode()
            self.answer(200, "application/vnd.amazon.eventstream", event("chunk", bytes=chunk))

    def signature(self, body: bytes) -> str:
        """What the authorization must be, by the rules and without the SDK."""
        names = ("content-type", "host", "x-amz-date")
        date = self.headers["x-amz-date"]
        lines = [f"{name}:{self.headers[name]}" for name in names]
        digest = hashlib.sha256(body).hexdigest()
        canonical = "\n".join(["POST", quote(self.path, safe="/-_.~"), "", *lines, "", ";".join(names), digest])
        scope = f"{date[:8]}/{REGION}/bedrock/aws4_request"
        key = f"AWS4{SECRET}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        text = f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signed = hmac.new(key, text.encode(), "sha256").hexdigest()
        return f"AWS4-HMAC-SHA256 Credential={KEY_ID}/{scope}, SignedHeaders={';'.join(names)}, Signature={signed}"

    def answer(
        self, status: int, kind: str, *pieces: bytes, pause_s: float = 0.0, counts: tuple[int, ...] = ()
    ) -> None:
        self.send_response(status)
        for name, count in zip(("Input", "Output"), counts, strict=False):
            self.send_header(f"X-Amzn-Bedrock-{name}-Token-Count", str(count))
        self.send_header("content-type", kind)
        self.send_header("content-length", str(sum(map(len, pieces))))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # Farebox leaves where a stream is cut
            for piece in pieces:
                self.wfile.write(piece)
                time.sleep(pause_s)  # AWS sends its frames apart, and each must pass at once


@pytest.fixture(scope="module")
def bedrock() -> Iterator[Bedrock]:
    with Bedrock() as server:
        yield server


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory, bedrock: Bedrock) -> Iterator[Installation]:
    extra = _PROVIDERS.format(url=bedrock.origin, region=REGION, key_id=KEY_ID, secret=SECRET, model=MODEL, arn=ARN)
    with Installation(tmp_path_factory.mktemp("farebox"), bedrock.origin, extra=extra) as running:
        yield running
        running.audit()


@pytest.fixture
def client_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, farebox: Installation) -> Iterator[Any]:
    made: list[BaseClient] = []
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))

    def make(key: str, base: str = "/bedrock") -> BaseClient:
        # Without TLS the SDK sends no Bearer; the key stands in for the id of an access key.
        client = Session().create_client(
            "bedrock-runtime",
            region_name="us-east-1",
            aws_access_key_id=key,
            aws_secret_access_key="unused",
            endpoint_url=farebox.url + base,
            config=Config(retries={"max_attempts": 1}),
        )
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture(scope="module")
def key(farebox: Installation) -> str:
    return farebox.account("main", "1000")


def test_the_sdk_converses_streams_and_invokes(
    client_of: Any, key: str, farebox: Installation, bedrock: Bedrock
) -> None:
    for base, credential in (("/bedrock", "AWS4-HMAC-SHA256"), ("", "AWS4-HMAC-SHA256"), ("/bearer", "Bearer")):
        client = client_of(key, base)
        answer = client.converse(modelId=MODEL, messages=MESSAGES)
        assert answer["output"]["message"]["content"][0]["text"] == "hello"
        assert answer["usage"]["totalTokens"] == 34
        assert answer["ResponseMetadata"]["HTTPHeaders"]["x-farebox-charge"] == "0.02"
        with contextlib.closing(client.converse_stream(modelId=MODEL, messages=MESSAGES)["stream"]) as stream:
            events = list(stream)
        assert events[-1]["metadata"]["usage"]["outputTokens"] == 4
        invoked = client.invoke_model_with_response_stream(modelId=ARN, body=b'{"prompt":"hi"}')
        with contextlib.closing(invoked["body"]) as body:
            assert b"hello" in next(iter(body))["chunk"]["bytes"]
        assert bedrock.credentials[-3:] == [credential] * 3
    assert bedrock.paths[0] == "/model/us.amazon.nova-micro-v1%3A0/converse"
    assert bedrock.paths[2] == f"/model/{quote(ARN, safe='')}/invoke-with-response-stream"
    records = farebox.usage("main", 9)
    assert [record["charge_microcredits"] for record in reversed(records)] == [CHARGE, CHARGE, 18000] * 3
    assert {record["settlement_basis"] for record in records} == {"reported"}
    assert records[-1]["usage"] == {"input": 10, "cache_read": 20, "output": 4}
    assert {record["model"] for record in records} == {MODEL, ARN}


def test_usage_that_only_the_headers_tell_is_charged(client_of: Any, farebox: Installation) -> None:
    client = client_of(farebox.account("invoker", "1000"))
    invoked = client.invoke_model(modelId=ARN, body=b'{"prompt":"hi"}')
    with contextlib.closing(invoked["body"]) as body:
        assert body.read() == b'{"outputs":[{"text":"hello"}]}'
    assert invoked["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-output-token-count"] == "4"
    record = farebox.usage("invoker", 1)[0]
    assert (record["usage"], record["settlement_basis"]) == ({"input": 10, "output": 4}, "reported")


def test_refusals_are_errors_of_the_sdk(client_of: Any, key: str) -> None:
    for model, who, code in (
        (MODEL, "sk-fb-no-such-key", "UnrecognizedClientException"),
        ("unpriced.model", key, "ServiceQuotaExceededException"),
        ("not.served-v1:0", key, "ResourceNotFoundException"),
    ):
        with pytest.raises(ClientError) as told:
            client_of(who).converse(modelId=model, messages=MESSAGES)
        assert told.value.response["Error"]["Code"] == code
        assert told.value.response["Error"]["Message"]


def test_a_stream_that_the_credits_do_not_last_for_is_cut_between_two_frames(
    client_of: Any, farebox: Installation
) -> None:
    client = client_of(farebox.account("poor", "0.25"))
    prompt = [{"role": "user", "content": [{"text": "much"}]}]
    answer = client.converse_stream(modelId=MODEL, messages=prompt)
    seen: list[Any] = []
    with (
        contextlib.closing(answer["stream"]) as stream,
        pytest.raises(EventStreamError, match="insufficient_credits"),
    ):
        seen.extend(stream)
    assert all("contentBlockDelta" in found for found in seen)
    assert len(seen) < 400
