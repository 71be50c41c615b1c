"""An authority of the tests' own, and servers that it vouches for."""

import ssl
from pathlib import Path

import pytest
import trustme

__all__ = ["authority", "ca_file", "server_tls"]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def server_tls(authority: trustme.CA, name: str = "localhost") -> ssl.SSLContext:
    """What a server with a certificate for this name needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context
