"""Providers that do as they are told: one address, a provider for each first part of the path; they remember what they received.

The next answers of a provider are put into `scripts[name]`; where nothing is told it answers a chat completion, as JSON or as a
stream, with 7 input tokens and 5 of output.
"""

import json
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

from tests.support.threaded import PlainHandler, PlainServer

USAGE = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


@dataclass
class Answer:
    """What a provider says. `hang_up`: nothing at all; `break_off`: only the first so many bytes of the body."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False
    break_off: int | None = None


@dataclass
class Asked:
    """A request as it arrived; `target` is raw, without the provider's own part."""

    provider: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


class ScriptedProvider(PlainServer):
    """Serves until the block ends. The base URL of a provider is `url(name)` and what its SDK adds."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.scripts: defaultdict[str, deque[Answer]] = defaultdict(deque)
        super().__init__(_Handler)

    def url(self, name: str) -> str:
        """Where a provider is."""
        return f"{self.origin}/{name}"

    def by_provider(self) -> list[str]:
        """Who was asked, in order."""
        return [one.provider for one in self.asked]


class _Handler(PlainHandler):
    server: ScriptedProvider

    def serve(self) -> None:
        name, _, rest = self.path[1:].partition("/")
        headers = {k.lower(): v for k, v in self.headers.items()}
        asked = Asked(name, self.command, f"/{rest}", headers, self.read_body())
        self.server.asked.append(asked)
        script = self.server.scripts[name]
        self._answer(script.popleft() if script else _completion(asked))

    def _answer(self, answer: Answer) -> None:
        if answer.hang_up:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in {"content-type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body if answer.break_off is None else answer.body[: answer.break_off])
        if answer.break_off is not None:
            self.wfile.flush()
            self.close_connection = True


def _completion(asked: Asked) -> Answer:
    try:
        members = asked.json
    except ValueError:
        members = {}
    stream = isinstance(members, dict) and members.get("stream")
    if not stream:
        message = {"role": "assistant", "content": "five words of an answer"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        whole = {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [choice],
            "usage": USAGE,
        }
        return Answer(body=json.dumps(whole).encode())
    return Answer(body=stream_of("five words of an answer"), headers={"content-type": "text/event-stream"})


def stream_of(text: str) -> bytes:
    """A chat completion as a stream, with its usage."""
    base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    events: list[dict[str, Any]] = [
        {**base, "choices": [{"index": 0, "delta": {"content": f"{word} "}, "finish_reason": None}]}
        for word in text.split()
    ]
    events.append({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    events.append({**base, "choices": [], "usage": USAGE})
    return b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events) + b"data: [DONE]\n\n"
