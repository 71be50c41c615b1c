"""What every driver shares. A driver uses one client as its own guide shows, in an interpreter that knows nothing of Farebox.

On standard input it takes `{"targets": {name: {"url" (an origin), "key"}}, "models": {...}}`. It calls in each of its modes at the
provider (`direct`) and at Farebox (`through`), and in some where it has to fail, and prints a line of JSON of each call:
`{"mode", "target", "said"}` or `{"mode", "target", "failed"}`. One call a mode, one after another.
"""

import asyncio
import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

ASKED = "Tell me about the sea and its ships."
TOOL = "get_weather"
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Oslo"]}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}


@dataclass
class Target:
    """Where to call, and with which key: the only two things that differ between Farebox and the provider itself."""

    url: str
    key: str


Mode = Callable[[Target, dict[str, str]], Any]


def said(text: str | None, input_tokens: int | None, output_tokens: int | None, **more: Any) -> dict[str, Any]:
    """What a client returned of one call: the text, and the usage that it was told."""
    return {"text": text or "", "input": input_tokens, "output": output_tokens, **more}


def failed(error: BaseException) -> dict[str, Any]:
    """An exception as its user could catch it: its class and bases, its status, its words."""
    values = (getattr(error, name, None) for name in ("status_code", "code", "status"))
    status = next((value for value in values if isinstance(value, int)), None)
    return {"classes": [kind.__name__ for kind in type(error).__mro__], "status": status, "message": str(error)}


def run(modes: dict[str, Mode], *, scripted: tuple[str, ...] = (), faults: tuple[str, ...] = ("plain",)) -> None:
    """Every mode at the targets `direct` and `through` (a `scripted` one only at the second); `faults` at the others."""
    job = json.load(sys.stdin)
    with asyncio.Runner() as runner:
        for name, target in job["targets"].items():
            chosen = {"direct": modes.keys() - set(scripted), "through": modes.keys()}.get(name, faults)
            for mode, call in modes.items():
                if mode in chosen:
                    outcome = _outcome(runner, call, Target(**target), job["models"])
                    print(json.dumps({"mode": mode, "target": name, **outcome}), flush=True)  # noqa: T201 - the report


def _outcome(runner: asyncio.Runner, call: Mode, target: Target, models: dict[str, str]) -> dict[str, Any]:
    try:
        result: Any = call(target, models)
        return {"said": runner.run(result) if inspect.iscoroutine(result) else result}
    except Exception as error:  # noqa: BLE001 - whatever a client raises is what the test asks for
        return {"failed": failed(error)}
