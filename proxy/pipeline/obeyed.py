"""Whether the token limit of a call is one that its providers obey.

Only OpenAI's chat and legacy completions have several names for it, of which servers know different ones; every other
operation has one. A limit that a provider is known to pass over holds nothing: without it the call is held for what its
price assumes. What is known is decided when the configuration is read (`Endpoint.token_limits`, `Candidates.unsure`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from proxy.providers.openai_chat import ChatCompletions
from proxy.providers.openai_completions import Completions
from proxy.providers.token_limits import believed_names, for_completions, given_names, sure_names

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.pipeline.call import Call
    from proxy.pipeline.candidates import Route
    from proxy.providers.dialect import Ask, Operation
    from proxy.providers.rows import Names


def without_ignored(ask: Ask, operation: Operation, body: bytes, routes: Iterable[Route]) -> Ask:
    """The ask, without a limit that lowers the hold and that one of the providers is known to pass over."""
    if ask.output_limit is None or not isinstance(operation, ChatCompletions):
        return ask
    routes = tuple(routes)
    if ask.output_limit >= max(route.price.assumed_output_tokens for route in routes):
        return ask
    given = given_names(body)
    if all(given & believed_names(_names(operation, route)) for route in routes):
        return ask
    return replace(ask, output_limit=None)


def surely_obeyed(call: Call) -> bool:
    """Whether every provider that may serve the call certainly obeys the limit that it came with."""
    if not isinstance(call.operation, ChatCompletions):
        return True
    given = given_names(call.body)
    return all(given & sure_names(_names(call.operation, route)) for route in call.candidates.routes)


def obeys_none(operation: Operation, route: Route) -> bool:
    """Whether the route's provider is known to obey no limit of this operation."""
    return isinstance(operation, ChatCompletions) and _names(operation, route) == ()


def _names(operation: ChatCompletions, route: Route) -> Names:
    names = route.endpoint.token_limits
    return for_completions(names) if isinstance(operation, Completions) else names
