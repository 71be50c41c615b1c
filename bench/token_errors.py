"""How far Farebox's own counts are from what providers billed, over recorded exchanges: input and output, by provider.

Only exchanges whose tokens can follow from their text are compared: no tools that the provider runs itself, no context that
it keeps, no documents or sounds; and for output, no reasoning that stays hidden. Figures are tokens; errors are fractions
of the billed figure, positive where more was counted.
"""

import asyncio
import base64
import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from proxy.core.errors import FareboxError
from proxy.providers.dialect import Head, Meter, Operation
from proxy.providers.encodings import count_now
from proxy.providers.estimates import count_input, count_output, read_prompt, refined_input_bound
from proxy.providers.images import is_sized
from proxy.providers.registry import OPERATIONS

FILE = "provider-exchanges.jsonl.gz"
_FIRST_ERROR_STATUS = 400
_SEARCHING = ("compound", "search", "sonar")  # models that read pages of their own accord
_PROVIDERS = {
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "gemini",
    "aiplatform.googleapis.com": "vertex",
    "api.openai.com": "openai",
    "api.cerebras.ai": "cerebras",
    "api.cohere.com": "cohere",
    "api.deepseek.com": "deepseek",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "api.voyageai.com": "voyage",
    "api.z.ai": "zai",
    "openrouter.ai": "openrouter",
    "router.huggingface.co": "huggingface",
}


@dataclass(frozen=True, slots=True)
class Error:
    """One exchange: what was counted, what was billed, and the bound that a hold would rest on."""

    id: str
    provider: str
    model: str
    side: str
    counted: int
    billed: int
    bound: int | None = None

    @property
    def fraction(self) -> float:
        """What was counted too much, as a part of what was billed."""
        return (self.counted - self.billed) / max(self.billed, 1)


class Immediate:
    """Counts on this thread."""

    async def count(self, text: str, model: str) -> int:
        """The tokens of a text."""
        return count_now(text, model)


def measure_errors(folder: Path, operations: Sequence[Operation] = OPERATIONS) -> list[Error]:
    """Compares every recorded exchange that an operation reads and a provider reported usage for."""
    return asyncio.run(_measure(folder, operations))


def table(errors: Sequence[Error]) -> str:
    """Return the errors by provider as a Markdown table."""
    lines = [
        "| provider | input: exchanges | mean error | worst | in all | output: exchanges | mean error | worst | in all |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    grouped: dict[str, dict[str, list[Error]]] = defaultdict(lambda: {"input": [], "output": []})
    for error in errors:
        grouped[error.provider][error.side].append(error)
    for provider, sides in sorted(grouped.items()):
        cells = [cell for side in ("input", "output") for cell in _cells(sides[side])]
        lines.append(f"| {provider} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(errors: list[Error]) -> list[str]:
    if not errors:
        return ["0", "-", "-", "-"]
    mean = sum(abs(error.fraction) for error in errors) / len(errors)
    worst = max(errors, key=lambda error: abs(error.fraction))
    in_all = sum(error.counted for error in errors) / max(sum(error.billed for error in errors), 1) - 1
    return [
        str(len(errors)),
        f"{mean:.0%}",
        f"{worst.fraction:+.0%} ({worst.counted} for {worst.billed})",
        f"{in_all:+.0%}",
    ]


async def _measure(folder: Path, operations: Sequence[Operation]) -> list[Error]:
    found: list[Error] = []
    with gzip.open(folder / FILE, "rt", encoding="utf-8") as lines:
        for line in lines:
            found += await _compare(json.loads(line), operations)
    return found


async def _compare(row: dict[str, Any], operations: Sequence[Operation]) -> list[Error]:
    body, answer = _bytes(row["request"]), _bytes(row["response"])
    if int(row["status"]) >= _FIRST_ERROR_STATUS or not body:
        return []
    for operation, params in _matching(row, operations):
        head = Head(params=params, query=row["query"] or "", content_type=b"application/json")
        try:
            ask = operation.read(body, head)
        except FareboxError:
            continue
        headers = {name.lower(): value for name, value in row["response_headers"].items()}
        kind = headers.get("content-type", "application/json")
        meter = operation.meter(ask, str(kind[0] if isinstance(kind, list) else kind).lower().encode())
        meter.feed(answer)
        meter.finish()
        return [error async for error in _errors(row, operation, body, meter, ask.model)]
    return []


async def _errors(row: dict[str, Any], operation: Operation, body: bytes, meter: Meter, model: str) -> Any:
    usage, prompt, counter = meter.usage, read_prompt(body), Immediate()
    provider = _provider(row["host"])
    if usage is None:
        return
    foreseeable = prompt is None or (prompt.complete and all(is_sized(image) for image in prompt.images))
    searched = any(name in model for name in _SEARCHING) or bool(usage.counters.get("web_searches"))
    if foreseeable and not searched and usage.input_tokens:
        counted = await count_input(counter, operation, body, model)
        bound = await refined_input_bound(counter, body, model)
        yield Error(row["id"], provider, model, "input", counted, usage.input_tokens, bound)
    hidden = usage.counters.get("reasoning")
    sealed = hidden or row["path"].endswith("/compact")
    if not sealed and not searched and usage.output_tokens and (meter.output_text or meter.output_calls):
        counted = await count_output(counter, meter, model)
        yield Error(row["id"], provider, model, "output", counted, usage.output_tokens)


def _matching(row: dict[str, Any], operations: Sequence[Operation]) -> Iterator[tuple[Operation, dict[str, str]]]:
    """The operations whose path this is the end of; literal paths first."""
    for templates in (False, True):
        for operation in operations:
            for path in operation.paths:
                found = re.search(_pattern(path.suffix), row["path"])
                other = (operation.dialect == "vertex") is not (_provider(row["host"]) == "vertex")
                if operation.method == row["method"] and ("{" in path.suffix) is templates and found and not other:
                    yield operation, {name: unquote(value) for name, value in found.groupdict().items()}


def _pattern(suffix: str) -> str:
    parts = re.split(r"\{(\w+)\}", suffix)
    return "".join(re.escape(part) if at % 2 == 0 else f"(?P<{part}>[^/]+)" for at, part in enumerate(parts)) + "$"


def _provider(host: str) -> str:
    if "amazonaws.com" in host or "api.aws" in host:
        return "bedrock"
    if host.endswith("aiplatform.googleapis.com"):
        return "vertex"
    return _PROVIDERS.get(host, "other")


def _bytes(body: Any) -> bytes:
    if isinstance(body, dict):
        return base64.b64decode(body["b64"])
    return str(body or "").encode()
