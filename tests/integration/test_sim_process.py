"""The simulated provider as the process that it is, and through the meters that Farebox puts on it."""

import http.client
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from proxy.providers.dialect import JSON, SSE, Meter
from proxy.providers.sim.request import CHAT, MESSAGES

ROOT = Path(__file__).parents[2]
OPERATIONS = (CHAT, MESSAGES)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    command = [sys.executable, "-W", "error", "-m", "proxy.providers.sim", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield str(urlsplit(line.split()[-1]).netloc)
        process.terminate()
        assert process.wait(10) == 0


def call(address: str, path: str, body: dict[str, Any] | bytes) -> tuple[int, bool, bytes]:
    """Status, whether the answer is a stream, and its body."""
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.request("POST", path, body if isinstance(body, bytes) else json.dumps(body))
        response = connection.getresponse()
        return response.status, response.headers["content-type"].startswith("text/event-stream"), response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("operation", OPERATIONS, ids=["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
def test_the_same_request_gets_the_same_bytes_and_is_metered(address: str, operation: Any, stream: bool) -> None:
    body = {
        "model": "sim",
        "max_tokens": 20,
        "stream": stream,
        "messages": [{"role": "user", "content": "Hello there"}],
    }
    request = json.dumps(body).encode()
    ask = operation.read(request)
    sent = operation.outgoing(request, ask)
    status, sse, answer = call(address, operation.paths[0].shared, sent)
    assert (status, sse) == (200, stream)
    assert call(address, operation.paths[0].shared, sent)[2] == answer
    meter: Meter = operation.meter(ask, SSE if sse else JSON)
    relayed = meter.feed(answer) + meter.finish()
    assert meter.usage is not None
    assert meter.usage.output_tokens == 20
    assert (meter.complete, meter.error, meter.flag) == (True, False, None)
    assert len(meter.output_text.split()) > 10
    if stream and operation is CHAT:
        # What the caller gets is what it would have got without Farebox, but for the nulls that OpenAI documents.
        unasked = call(address, operation.paths[0].shared, request)[2]
        assert relayed.replace(b',"usage":null', b"") == unasked
    else:
        assert relayed == answer


@pytest.mark.parametrize("model", ["sim-silent", "sim-cut"])
def test_answers_without_usage_have_text_to_count(address: str, model: str) -> None:
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "Hello there"}]}
    connection = http.client.HTTPConnection(address, timeout=20)
    connection.request(
        "POST", CHAT.paths[0].shared, CHAT.outgoing(json.dumps(body).encode(), CHAT.read(json.dumps(body).encode()))
    )
    response = connection.getresponse()
    meter = CHAT.meter(CHAT.read(json.dumps(body).encode()), SSE)
    try:
        while piece := response.read1(4096):
            meter.feed(piece)
    except http.client.IncompleteRead:
        assert model == "sim-cut"
    finally:
        connection.close()
    meter.finish()
    assert meter.usage is None
    assert meter.flag is None
    assert meter.output_events >= 10
    assert meter.output_bytes > 30
    assert meter.complete is (model == "sim-silent")


@pytest.mark.parametrize(
    "body", [b"", b"[", b"[" * 100_000, b'{"model":"sim"}', b'{"model":"sim","messages":[],"max_tokens":1.5}']
)
def test_bad_requests_are_refused_in_the_dialect(address: str, body: bytes) -> None:
    for operation in OPERATIONS:
        status, _, answer = call(address, operation.paths[0].shared, body)
        assert status == 400
        assert json.loads(answer)["error"]["type"] == "invalid_request_error"


def test_it_serves_on_an_inherited_socket_and_says_when_it_does() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    reading, writing = os.pipe()
    code = f"import sys; from proxy.providers.sim.app import run_sim; sys.exit(run_sim({listener.fileno()}))"
    environment = {**os.environ, "FAREBOX_READY_FD": str(writing)}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, pass_fds=(listener.fileno(), writing), env=environment) as process:
        os.close(writing)
        assert os.read(reading, 1) == b"1"
        address = "{}:{}".format(*listener.getsockname())
        listener.close()
        assert call(address, CHAT.paths[0].shared, {"model": "sim", "messages": []})[0] == 200
        process.terminate()
        assert process.wait(10) == 0
    os.close(reading)


@pytest.mark.parametrize("path", ["/v1/rerank", "/", "/v1/nothing%20here?x=1"])
def test_a_path_that_is_not_there_is_refused_in_json(address: str, path: str) -> None:
    status, _, answer = call(address, path, {})
    error = json.loads(answer)["error"]
    assert (status, error["type"], error["code"]) == (404, "not_found_error", "unknown_url")
    assert error["message"].startswith("Invalid URL (POST /")


def test_a_client_that_leaves_a_stream_is_no_error_of_the_server() -> None:
    command = [sys.executable, "-W", "error", "-m", "proxy.providers.sim", "--listen", "127.0.0.1:0"]
    body = {"model": "sim", "stream": True, "messages": [{"role": "user", "content": "hi"}], "sim": {"tokens": 5000}}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = urlsplit(process.stdout.readline().split()[-1]).netloc
        for _ in range(20):
            connection = http.client.HTTPConnection(address, timeout=20)
            connection.request("POST", CHAT.paths[0].shared, json.dumps(body))
            response = connection.getresponse()
            response.read1(10)
            response.close()
            connection.close()
        assert call(address, CHAT.paths[0].shared, {**body, "stream": False})[0] == 200  # it has seen them leave
        process.terminate()
        _, said = process.communicate(timeout=20)
    assert said == ""
