"""Where a client connects to and within which bounds. Durations are seconds (float), sizes bytes."""

from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """One provider's address: scheme, host and port, or the path of a unix socket. Never taken from a request."""

    scheme: str
    host: str
    port: int
    unix_path: str | None = None

    @classmethod
    def parse(cls, url: str) -> "Origin":
        """The origin of `http(s)://host[:port][/path]` or `unix:/path/of/socket`; a path of the first form is ignored.

        Raises ValueError for everything else, credentials in the URL included.
        """
        if url.startswith("unix:/"):
            return cls("http", "localhost", 80, url.removeprefix("unix:"))
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
            msg = "an upstream address is http(s)://host[:port][/path] without credentials, or unix:/path"
            raise ValueError(msg)
        port = _DEFAULT_PORTS[parts.scheme] if parts.port is None else parts.port
        host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode("ascii")
        return cls(parts.scheme, host, port)

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.scheme == "https"

    @property
    def host_header(self) -> bytes:
        """The value of the Host header; the scheme's own port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}").encode("ascii")


@dataclass(frozen=True, slots=True)
class ForwardProxy:
    """An HTTP proxy on the way out; `authorization` is the value of Proxy-Authorization where it wants one."""

    host: str
    port: int
    authorization: bytes | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> "ForwardProxy":
        """The proxy of `http://[user:password@]host[:port]`, user and password percent-encoded (Basic, RFC 7617).

        Raises ValueError for everything else, without quoting it.
        """
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
            msg = "a proxy is http://[user:password@]host[:port]"
            raise ValueError(msg)
        authorization = None
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = b"Basic " + b64encode(pair.encode())
        return cls(parts.hostname, _DEFAULT_PORTS["http"] if parts.port is None else parts.port, authorization)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long each phase of a call may take; `total_s` counts from `start()`, time in the queue included."""

    connect_s: float = 5.0
    first_byte_s: float = 300.0
    idle_s: float = 120.0
    total_s: float = 1800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """Connections of one client: how many, how many calls may queue for one and how long, how long an idle one is kept."""

    connections: int = 1000
    waiting: int = 1000
    wait_s: float = 5.0
    keepalive_s: float = 15.0
