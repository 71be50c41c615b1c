"""Which call a request is: its path, matched raw and whole, against every path that is open.

What is not metered is not open: a path that no operation claims is 404, whatever it would look like after decoding.
Literal paths are one look into a dictionary; templates (`/v1beta/models/{model}:generateContent`) are a tree of segments
that is built once. A captured part is read decoded and forwarded raw: nothing is spelled anew on its way to a provider.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

from proxy.core.errors import InvalidRequest, MethodNotAllowed, NotFound
from proxy.pipeline.read import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from proxy.pipeline.exchange import Exchange
    from proxy.providers.dialect import Operation

MODEL_PARTS = frozenset({"model", "deployment"})
"""Parts that name a model: an encoded `/` may stand in them (Bedrock's ARNs), and an alias takes their place."""

_PART = re.compile(r"\{([a-z_]+)\}")
# RFC 3986, pchar: what may stand in one segment of a path, escapes whole.
_SEGMENT = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})+")
_MAX_SEGMENTS = 24
_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Target:
    """What a path means: an operation, what follows the provider's base URL, and the provider where the path names one.

    `suffix` is the template; `params` are its captured parts decoded, `raw` the same as they came.
    """

    operation: Operation
    suffix: str
    provider: str | None
    params: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, str] = field(default_factory=dict)


# Method -> the targets of a path: more than one where several dialects claim it.
Methods = dict[str, tuple[Target, ...]]


class _Node:
    """A place in the tree of segments: what follows literally, what follows as a part, and what ends here."""

    __slots__ = ("literals", "methods", "parts")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.parts: list[tuple[str, str, str, _Node]] = []  # text before, name, text behind
        self.methods: Methods = {}

    def child(self, segment: str) -> _Node:
        """The node of a template's segment, made where it is missing."""
        found = _PART.search(segment)
        if found is None:
            return self.literals.setdefault(segment, _Node())
        before, behind = segment[: found.start()], segment[found.end() :]
        if _PART.search(behind):
            msg = f"a segment of a path template holds at most one part: {segment}"
            raise ValueError(msg)
        for known in self.parts:
            if known[:3] == (before, found[1], behind):
                return known[3]
        node = _Node()
        self.parts.append((before, found[1], behind, node))
        # The most text first: `{model}:generateContent` is asked before `{model}`.
        self.parts.sort(key=lambda part: -len(part[0]) - len(part[2]))
        return node

    def leaves(self, segments: list[str], at: int, parts: tuple[tuple[str, str], ...]) -> Iterator[_Leaf]:
        """Every end that the segments from `at` on lead to, the most literal first."""
        if at == len(segments):
            if self.methods:
                yield self.methods, parts
            return
        segment = segments[at]
        if (literal := self.literals.get(segment)) is not None:
            yield from literal.leaves(segments, at + 1, parts)
        for before, name, behind, node in self.parts:
            end = len(segment) - len(behind)
            if end > len(before) and segment.startswith(before) and segment.endswith(behind):
                yield from node.leaves(segments, at + 1, (*parts, (name, segment[len(before) : end])))


_Leaf = tuple[Methods, tuple[tuple[str, str], ...]]


class Paths:
    """Every path that is open: the shared ones, and `/{provider}` in front of each provider's own."""

    def __init__(self, operations: Iterable[Operation], endpoints: Mapping[str, Mapping[str, str]]) -> None:
        """`endpoints`: provider -> dialect -> path of its base URL (no trailing slash)."""
        self._literal: dict[str, Methods] = {}
        self._tree = _Node()
        self._dialects = {provider: next(iter(bases)) for provider, bases in endpoints.items() if bases}
        for operation in operations:
            for path in operation.paths:
                if path.shared is not None:
                    self._add(path.shared, Target(operation, path.suffix, None, _NOTHING, _NOTHING))
                for provider, bases in endpoints.items():
                    if (base := bases.get(operation.dialect)) is not None:
                        own = Target(operation, path.suffix, provider, _NOTHING, _NOTHING)
                        self._add(f"/{provider}{base}{path.suffix}", own)

    def add(self, operation: Operation, provider: str, base: str) -> None:
        """Opens one more operation, for one provider only."""
        for path in operation.paths:
            target = Target(operation, path.suffix, provider, _NOTHING, _NOTHING)
            self._add(f"/{provider}{base}{path.suffix}", target)
            if path.shared is not None:
                self._add(path.shared, target)

    def alias(self, paths: Mapping[str, str]) -> None:
        """Opens literal paths (new -> known) that mean what other literal ones mean; a path that is open already stays what it is."""
        for path, known in paths.items():
            if known in self._literal:
                self._literal.setdefault(path, self._literal[known])

    def _add(self, template: str, target: Target) -> None:
        if "{" not in template:
            methods = self._literal.setdefault(template, {})
        else:
            node = self._tree
            for segment in template.split("/"):
                node = node.child(segment)
            methods = node.methods
        known = methods.get(target.operation.method, ())
        if not any(other.operation.dialect == target.operation.dialect for other in known):
            methods[target.operation.method] = (*known, target)

    def match(self, exchange: Exchange) -> Target:
        """The target of a request. Raises NotFound, MethodNotAllowed, InvalidRequest."""
        methods = self._literal.get(exchange.path)
        if methods is None:
            return self._match_template(exchange)
        targets = methods.get(exchange.method)
        if targets is None:
            raise _not_allowed(exchange.method, methods)
        return targets[0] if len(targets) == 1 else _by_headers(targets, exchange)

    def _match_template(self, exchange: Exchange) -> Target:
        allowed: Methods | None = None
        for methods, parts in self._leaves(exchange.path):
            targets = methods.get(exchange.method)
            if targets is not None:
                target = targets[0] if len(targets) == 1 else _by_headers(targets, exchange)
                params = {name: _read_part(name, raw) for name, raw in parts}
                return Target(target.operation, target.suffix, target.provider, params, dict(parts))
            if allowed is None and ":" not in parts[-1][1]:
                # `models/x:doSomething` is another method of Google's that is not open, not one of the model's own.
                allowed = methods
        if allowed is not None:
            raise _not_allowed(exchange.method, allowed)
        what = f"{exchange.method} {printable(exchange.path)} is not a path that this proxy meters, so it is not open."
        msg = f"{what} (Realtime calls are WebSockets.)" if "/realtime" in exchange.path else what
        raise NotFound(msg, code="unknown_path")

    def _leaves(self, path: str) -> Iterator[_Leaf]:
        if path.count("/") <= _MAX_SEGMENTS:
            yield from self._tree.leaves(path.split("/"), 0, ())

    def dialect_of(self, exchange: Exchange) -> str:
        """The dialect in which to answer a request, one that no target matches included."""
        methods = self._literal.get(exchange.path) or next((found for found, _ in self._leaves(exchange.path)), None)
        if methods:
            targets = methods.get(exchange.method) or next(iter(methods.values()))
            return _by_headers(targets, exchange).operation.dialect
        first = exchange.path[1:].partition("/")[0]
        if first in self._dialects:
            return self._dialects[first]
        if exchange.path.startswith("/v1/messages"):
            return "anthropic"
        if exchange.path.startswith("/v1beta"):
            return "gemini"
        return callers_dialect(exchange)


def callers_dialect(exchange: Exchange) -> str:
    """The dialect that a request's headers speak, where its path does not say: each family's SDK sends its own."""
    for name, _ in exchange.headers:
        if name in {b"anthropic-version", b"x-api-key"}:
            return "anthropic"
        if name in {b"x-goog-api-key", b"x-goog-api-client"}:
            return "gemini"
        if name == b"authorization":
            return "openai"
    return "gemini" if "key=" in exchange.query else "openai"


def fill(suffix: str, raw: Mapping[str, str]) -> str:
    """A template with its parts filled in, raw."""
    return _PART.sub(lambda found: raw[found[1]], suffix)


def _by_headers(targets: tuple[Target, ...], exchange: Exchange) -> Target:
    dialect = callers_dialect(exchange)
    return next((target for target in targets if target.operation.dialect == dialect), targets[0])


def _not_allowed(method: str, methods: Methods) -> MethodNotAllowed:
    allowed = ", ".join(sorted(methods))
    return MethodNotAllowed(f"{method} is not allowed here; use {allowed}.", metadata={"allow": allowed})


def _read_part(name: str, raw: str) -> str:
    """A captured part, decoded once. Raises InvalidRequest where a provider could read another path in it."""
    decoded = _decoded(raw)
    pieces = decoded.split("/") if name in MODEL_PARTS else [decoded]
    # A percent sign that is left would be decoded by whoever decodes twice.
    strange = any(not piece.isprintable() or piece in {"", ".", ".."} or set(piece) & set("\\/%") for piece in pieces)
    if strange:
        msg = f"The {name!r} in the path is not one that can be passed on."
        raise InvalidRequest(msg, code="invalid_path", param=name)
    return decoded


def _decoded(raw: str) -> str:
    """A segment with its escapes read; empty where it is none."""
    try:
        return unquote(raw, errors="strict") if _SEGMENT.fullmatch(raw) else ""
    except UnicodeDecodeError:
        return ""
