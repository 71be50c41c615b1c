"""What a key may be used for: paths, networks and models. Asked before the hold, and again where the account turned out to be stale.

A refusal is never spoken on what was read a while ago: the key is read again first, so that what was widened holds at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.accounts.authenticator import UNPAID_MAX_AGE_S
from proxy.core.errors import Forbidden
from proxy.pipeline.route import check_model_allowed
from proxy.providers.dialect import FREE

if TYPE_CHECKING:
    from proxy.accounts.authenticator import Authenticator
    from proxy.accounts.caller import Caller
    from proxy.pipeline.exchange import Exchange
    from proxy.providers.dialect import Ask, Operation


def check_reach(caller: Caller, exchange: Exchange) -> None:
    """Raises Forbidden where the key may not be used on this path, or from where the client is."""
    if caller.reach is not None:
        caller.reach.check(exchange.path, exchange.client_address)


def check_models(caller: Caller, operation: Operation, ask: Ask) -> None:
    """Raises Forbidden where the key is bound to models and one that is asked for is none of them."""
    if caller.models is not None:
        if ask.model or operation.billing != FREE:
            check_model_allowed(caller, ask.model)
        for other in ask.others:
            check_model_allowed(caller, other)


async def within_reach(caller: Caller, exchange: Exchange, authenticator: Authenticator) -> Caller:
    """The caller, read again if need be. Raises as `check_reach`."""
    try:
        check_reach(caller, exchange)
    except Forbidden:
        caller = await authenticator.caller_of(caller.digest, UNPAID_MAX_AGE_S)
        check_reach(caller, exchange)
    return caller


async def with_models(caller: Caller, operation: Operation, ask: Ask, authenticator: Authenticator) -> Caller:
    """The caller, read again if need be. Raises as `check_models`."""
    try:
        check_models(caller, operation, ask)
    except Forbidden:
        caller = await authenticator.caller_of(caller.digest, UNPAID_MAX_AGE_S)
        check_models(caller, operation, ask)
    return caller
