import asyncio
import datetime as dt
import hashlib
import hmac
import threading
from typing import Any
from urllib.parse import quote

import botocore.auth
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.session import Session

from proxy.core.errors import ConfigError
from proxy.providers.bedrock_signing import SigV4Signer, aws_signer
from proxy.providers.signing import SigningError

NOW = dt.datetime(2026, 11, 22, 7, 0, 0, tzinfo=dt.UTC)
KEY, SECRET, TOKEN = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "token/with+signs="
HOST = "https://bedrock-runtime.us-east-1.amazonaws.com"
ARN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
MODELS = ["amazon.nova-micro-v1:0", "us.anthropic.claude-sonnet-4-6", ARN]


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: NOW.replace(tzinfo=None))
    for name in ("AWS_BEARER_TOKEN_BEDROCK", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def sent_by_botocore(model: str, token: str | None, stream: bool) -> AWSPreparedRequest:
    """What the whole of botocore would put on the wire."""
    client = Session().create_client(
        "bedrock-runtime",
        region_name="us-east-1",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        aws_session_token=token,
        config=Config(retries={"max_attempts": 1}),
    )
    seen: list[AWSPreparedRequest] = []

    def answer(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        seen.append(request)
        return AWSResponse(request.url, 400, {"x-amzn-errortype": "ValidationException"}, Raw())

    client.meta.events.register("before-send.bedrock-runtime.*", answer)
    call = client.converse_stream if stream else client.converse
    with pytest.raises(client.exceptions.ValidationException):
        call(modelId=model, messages=[{"role": "user", "content": [{"text": "é hi"}]}])
    return seen[0]


class Raw:
    def stream(self, *_: Any, **__: Any) -> list[bytes]:
        return [b'{"message":"no"}']


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("token", [None, TOKEN])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_signature_is_the_one_of_the_aws_sdk(model: str, token: str | None, stream: bool) -> None:
    wire = sent_by_botocore(model, token, stream)
    assert wire.url == f"{HOST}/model/{quote(model, safe='-_.~')}/converse" + ("-stream" if stream else "")
    signer = aws_signer(HOST, KEY, SECRET, token or "")
    headers = [(b"content-type", b"application/json"), (b"user-agent", b"any"), (b"accept", b"*/*")]
    added = dict(await signer.headers("POST", wire.url, headers, wire.body))
    theirs = {
        name.lower(): str(value.decode() if isinstance(value, bytes) else value) for name, value in wire.headers.items()
    }
    assert added[b"authorization"].decode() == theirs["authorization"]
    assert added[b"x-amz-date"].decode() == theirs["x-amz-date"] == "20261122T070000Z"
    assert added.get(b"x-amz-security-token", b"").decode() == (token or "")
    assert b"content-type" not in added


@pytest.mark.parametrize("model", MODELS)
async def test_a_signature_is_the_one_that_follows_from_the_rules(model: str) -> None:
    """Signature Version 4 by hand: the path as sent, encoded once more."""
    path, body = f"/model/{quote(model, safe='-_.~')}/invoke", b'{"max_tokens": 5}'
    host = "bedrock-runtime.us-east-1.amazonaws.com"
    canonical = "\n".join(
        (
            *("POST", quote(path, safe="/-_.~"), ""),
            *("content-type:application/json", f"host:{host}", "x-amz-date:20261122T070000Z", ""),
            *("content-type;host;x-amz-date", hashlib.sha256(body).hexdigest()),
        )
    )
    scope = "20261122/us-east-1/bedrock/aws4_request"
    text = f"AWS4-HMAC-SHA256\n20261122T070000Z\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{SECRET}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    headers = [(b"content-type", b"application/json")]
    added = dict(await aws_signer(HOST, KEY, SECRET).headers("POST", HOST + path, headers, body))
    assert added[b"authorization"].decode() == (
        f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders=content-type;host;x-amz-date, Signature={signature}"
    )


async def test_what_is_large_is_signed_beside_the_loop_and_alike() -> None:
    threads = []

    class Watched(Credentials):
        def get_frozen_credentials(self) -> Any:
            threads.append(threading.current_thread() is threading.main_thread())
            return super().get_frozen_credentials()

    signer = SigV4Signer(Watched(KEY, SECRET), "us-east-1")
    await signer.headers("POST", HOST + "/model/m/invoke", [], b"x")
    await signer.headers("POST", HOST + "/model/m/invoke", [], b"x" * 100_000)
    assert threads == [True, False]


async def test_credentials_that_end_are_renewed_beside_the_loop() -> None:
    class Ending(Credentials):
        renewed_in_loop: bool | None = None

        def refresh_needed(self) -> bool:
            return True

        def get_frozen_credentials(self) -> Any:
            try:
                asyncio.get_running_loop()
                self.renewed_in_loop = True
            except RuntimeError:
                self.renewed_in_loop = False
            return super().get_frozen_credentials()

    credentials = Ending(KEY, SECRET)
    await SigV4Signer(credentials, "us-east-1").headers("POST", HOST + "/model/m/invoke", [], b"x")
    assert credentials.renewed_in_loop is False


async def test_what_cannot_be_signed_says_so_without_a_secret() -> None:
    class Broken(Credentials):
        def get_frozen_credentials(self) -> Any:
            raise botocore.exceptions.CredentialRetrievalError(provider="x", error_msg=SECRET)

    with pytest.raises(SigningError) as told:
        await SigV4Signer(Broken(KEY, SECRET), "us-east-1").headers("POST", HOST, [], b"")
    assert SECRET not in str(told.value)


def test_the_region_is_in_the_host_unless_it_is_said() -> None:
    for url, region in (
        (HOST, "us-east-1"),
        ("https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("https://vpce-1.bedrock-runtime.eu-central-2.vpce.amazonaws.com/", "eu-central-2"),
    ):
        assert aws_signer(url, KEY, SECRET)._region == region
    assert aws_signer("http://127.0.0.1:9001", KEY, SECRET, region="eu-west-1")._region == "eu-west-1"
    with pytest.raises(ConfigError, match="region"):
        aws_signer("http://127.0.0.1:9001", KEY, SECRET)


def test_credentials_are_whole_or_found_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="two parts"):
        aws_signer(HOST, KEY)
    with pytest.raises(ConfigError, match="No AWS credentials"):
        aws_signer(HOST)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    assert aws_signer(HOST)._credentials.access_key == KEY
