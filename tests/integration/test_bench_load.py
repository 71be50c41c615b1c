"""The load generator of the bench must notice an answer that is wrong, in both of its ways of checking."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from bench.generator import Exchange, Load, LoadFailedError, Manner, Target, run_load, suit
from bench.native import NoCompilerError, build
from bench.scenarios import Scenario, Stream

LOAD = Scenario(
    name="s", title="", model="m", connections=2, interval=0.2, warmup=0.05, stream=Stream(chunks=2, period_ms=0)
)
RIGHT = b'data: {"content":" word000000"}\n\ndata: {"content":" word000001"}\n\ndata: [DONE]\n\n'
ANEW = b'data: {"x": 1, "content": " word000000"}\n\ndata: {"content":" woword000001"}\n\ndata: [DONE]\n\n'


@pytest.fixture(scope="module")
def program() -> Path:
    try:
        return build("load")
    except NoCompilerError:
        pytest.skip("the load generator is in C, and there is no compiler")


@contextmanager
def answering(body: bytes, size: int, status: str = "200 OK") -> Iterator[tuple[int, list[bytes]]]:
    """A server that gives this answer to every request, in chunks of so many bytes; yields its port and the heads it read."""
    heads: list[bytes] = []
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    answer = f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    answer += b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with suppress(ConnectionError):  # the generator leaves in the middle of an answer when its time is over
                while head := self._head():
                    length = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length:"))
                    self.rfile.read(int(length.partition(b":")[2]))
                    heads.append(head)
                    self.wfile.write(answer)

        def _head(self) -> bytes:
            """The lines of a request's head; empty at the end of the connection, where `readline` returns nothing for ever."""
            lines = []
            while (line := self.rfile.readline()) not in {b"", b"\r\n"}:
                lines.append(line)
            return b"".join(lines)

    class Server(socketserver.ThreadingTCPServer):
        # Closing waits for every handler: one that does not end would take the processor from all tests behind it.
        daemon_threads = False
        allow_reuse_address = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server.server_address[1], heads
        finally:
            server.shutdown()


def run(program: Path, directory: Path, port: int, manner: Manner) -> Load:
    exchange = Exchange(directory / "s.request", directory / "s.answer")
    exchange.body.write_bytes(LOAD.body())
    exchange.expected.write_bytes(RIGHT)
    for interval in (0.2, 1.0, 5.0):  # a busy machine may not answer a single call in the first
        scenario = replace(LOAD, interval=interval)
        load = run_load(program, scenario, suit(exchange, scenario, manner), Target(port, None, [], manner))
        if load.calls:
            break
    return load


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize(("body", "exact"), [(RIGHT, True), (RIGHT, False), (ANEW, False)])
def test_right_answers_are_counted_however_they_are_cut(
    program: Path, tmp_path: Path, body: bytes, exact: bool, size: int
) -> None:
    with answering(body, size) as (port, _):
        load = run(program, tmp_path, port, Manner(exact=exact))
    assert load.calls > 0
    assert abs(load.events - 3 * load.calls) <= 6, (
        "three events a call; of those under way at the edges not all are in the interval"
    )


@pytest.mark.parametrize(
    ("body", "exact", "complaint"),
    [
        (ANEW, True, "differs"),
        (RIGHT.replace(b"word000001", b"word000002"), False, "ended after 1 of 3 pieces"),
        (RIGHT.replace(b"data: [DONE]\n\n", b""), False, "ended after 2 of 3 pieces"),
        (RIGHT.replace(b"data: [DONE]\n\n", b""), True, "ended after"),
    ],
)
def test_wrong_answers_fail_the_load(program: Path, tmp_path: Path, body: bytes, exact: bool, complaint: str) -> None:
    with answering(body, 4096) as (port, _), pytest.raises(LoadFailedError, match=complaint):
        run(program, tmp_path, port, Manner(exact=exact))


def test_a_wrong_status_fails_the_load(program: Path, tmp_path: Path) -> None:
    with (
        answering(RIGHT, 4096, "429 Too Many Requests") as (port, _),
        pytest.raises(LoadFailedError, match="status 429"),
    ):
        run(program, tmp_path, port, Manner(exact=False))


def test_a_subject_is_asked_in_its_manner(program: Path, tmp_path: Path) -> None:
    manner = Manner(path="/gateway/v1", headers=("x-provider: openai", "x-host: here"), exact=False)
    with answering(RIGHT, 4096) as (port, heads):
        run(program, tmp_path, port, manner)
    assert heads[0].startswith(b"POST /gateway/v1 HTTP/1.1\r\n")
    assert b"\r\nx-provider: openai\r\nx-host: here\r\n" in heads[0]
