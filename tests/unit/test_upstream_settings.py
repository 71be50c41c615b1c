"""Origins, from the URL of a provider."""

import pytest

from proxy.pipeline.upstream import ForwardProxy, Origin


@pytest.mark.parametrize(
    ("url", "origin", "host"),
    [
        ("https://api.openai.com/v1", Origin("https", "api.openai.com", 443), b"api.openai.com"),
        ("http://127.0.0.1:9001/v1", Origin("http", "127.0.0.1", 9001), b"127.0.0.1:9001"),
        ("https://Example.TEST:443", Origin("https", "example.test", 443), b"example.test"),
        ("http://[::1]:8080/", Origin("http", "::1", 8080), b"[::1]:8080"),
        ("https://[::1]", Origin("https", "::1", 443), b"[::1]"),
        ("https://bücher.test/", Origin("https", "xn--bcher-kva.test", 443), b"xn--bcher-kva.test"),
        ("unix:/run/llm.sock", Origin("http", "localhost", 80, "/run/llm.sock"), b"localhost"),
    ],
)
def test_origin_of_a_url(url: str, origin: Origin, host: bytes) -> None:
    assert Origin.parse(url) == origin
    assert origin.host_header == host
    assert origin.tls is url.startswith("https")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.openai.com",
        "ftp://x",
        "http://",
        "https://key@host/",
        "https://u:p@host",
        "http://h:70000",
        "http://h:x",
        "unix:relative",
    ],
)
def test_what_is_no_origin_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        Origin.parse(url)
    assert "key" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://proxy.test:3128", ForwardProxy("proxy.test", 3128)),
        ("http://proxy.test/", ForwardProxy("proxy.test", 80)),
        ("http://[::1]:3128", ForwardProxy("::1", 3128)),
        ("http://user:pass@proxy.test:3128", ForwardProxy("proxy.test", 3128, b"Basic dXNlcjpwYXNz")),
        ("http://user@proxy.test:3128", ForwardProxy("proxy.test", 3128, b"Basic dXNlcjo=")),
    ],
)
def test_a_proxy_of_a_url(url: str, proxy: ForwardProxy) -> None:
    assert ForwardProxy.parse(url) == proxy
    assert "Basic" not in repr(proxy)


@pytest.mark.parametrize(
    "url", ["", "proxy.test:3128", "https://p", "socks5://p:1080", "http://", "http://s3cret@p/x", "http://p?q"]
)
def test_what_is_no_proxy_is_refused_and_not_quoted(url: str) -> None:
    with pytest.raises(ValueError, match="a proxy is") as caught:
        ForwardProxy.parse(url)
    assert "s3cret" not in str(caught.value)
