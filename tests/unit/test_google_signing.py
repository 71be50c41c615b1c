"""A service account's token, with the real library: one assertion that its key signed, one token for all, renewed in time."""

import asyncio
import datetime as dt
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt
from google.auth.exceptions import TransportError
from google.oauth2 import service_account

from proxy.core.errors import ConfigError
from proxy.providers.google_signing import SCOPES, GoogleSigner, google_signer
from proxy.providers.signing import SigningError

TOKEN_URI = "https://oauth2.test/token"
AUDIENCE = "https://oauth2.googleapis.com/token"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PRIVATE = KEY.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
PUBLIC = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
ACCOUNT = {
    "type": "service_account",
    "client_email": "meter@project.iam.gserviceaccount.com",
    "private_key_id": "k1",
    "private_key": PRIVATE,
    "token_uri": TOKEN_URI,
}


class Reply:
    def __init__(self, status: int, body: dict[str, Any]) -> None:
        self.status = status
        self.headers: dict[str, str] = {}
        self.data = json.dumps(body).encode()


class Endpoint:
    """Google's token endpoint, as the library's transport reaches it."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.away = False

    def __call__(self, url: str, method: str = "GET", body: Any = None, **_: Any) -> Reply:
        if self.away:
            raise TransportError("no way there")
        assert (url, method) == (TOKEN_URI, "POST")
        form = parse_qs(body.decode() if isinstance(body, bytes) else body)
        self.asked.append(jwt.decode(form["assertion"][0], certs=PUBLIC, audience=AUDIENCE))
        return Reply(200, {"access_token": f"token-{len(self.asked)}", "expires_in": 3600, "token_type": "Bearer"})


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint()


@pytest.fixture
def credentials() -> Any:
    return service_account.Credentials.from_service_account_info(ACCOUNT, scopes=SCOPES)


async def sign(signer: GoogleSigner) -> bytes:
    headers = dict(await signer.headers("POST", "https://aiplatform.test/v1/x", [(b"host", b"x")], b"{}"))
    return headers[b"authorization"]


def ends_in(credentials: Any, seconds: int) -> None:
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    credentials.expiry = now + dt.timedelta(seconds=seconds)


async def test_one_token_serves_everybody(endpoint: Endpoint, credentials: Any) -> None:
    signer = GoogleSigner(credentials, endpoint)
    assert await asyncio.gather(*(sign(signer) for _ in range(8))) == [b"Bearer token-1"] * 8
    (claims,) = endpoint.asked
    assert claims["iss"] == ACCOUNT["client_email"]
    assert claims["scope"] == SCOPES[0]


async def test_a_token_is_renewed_before_it_ends(endpoint: Endpoint, credentials: Any) -> None:
    signer = GoogleSigner(credentials, endpoint)
    await sign(signer)
    ends_in(credentials, 60)
    assert await sign(signer) == b"Bearer token-2"
    assert await sign(signer) == b"Bearer token-2"


async def test_a_token_that_is_still_good_serves_while_it_cannot_be_renewed(
    endpoint: Endpoint, credentials: Any
) -> None:
    signer = GoogleSigner(credentials, endpoint)
    await sign(signer)
    endpoint.away = True
    ends_in(credentials, 60)
    assert await sign(signer) == b"Bearer token-1"
    ends_in(credentials, -1)
    with pytest.raises(SigningError, match="TransportError"):
        await sign(signer)
    endpoint.away = False
    assert await sign(signer) == b"Bearer token-2"


async def test_the_project_that_pays_is_named(endpoint: Endpoint, credentials: Any) -> None:
    signer = GoogleSigner(credentials.with_quota_project("payer"), endpoint)
    headers = await signer.headers("POST", "https://aiplatform.test/v1/x", [], b"{}")
    assert (b"x-goog-user-project", b"payer") in headers


def test_a_key_file(tmp_path: Path) -> None:
    file = tmp_path / "account.json"
    file.write_text(json.dumps(ACCOUNT))
    assert isinstance(google_signer(str(file)), GoogleSigner)


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"type":"service_account"}'])
def test_a_file_that_is_no_key(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "account.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match="cannot be used"):
        google_signer(str(file))
