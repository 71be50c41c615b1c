"""Requests that let the provider answer with another model than the one that they ask for: held and charged at the dearest.

Which of them answered is only the answer's word, and it could name a cheap one; so what the call may cost is what it
costs. The models are all such as the key may use, known here and priced: otherwise the call is refused like one for them.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from proxy.pipeline.candidates import Candidates

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.core.pricing import Price

# Calls have more input than output: the weight of an input token against one of output, where no price is dearer in both.
_INPUT_WEIGHT = 3


def at_dearest(candidates: Candidates, others: Iterable[Candidates]) -> Candidates:
    """The same routes, each at the dearest price among its own and the other models'."""
    prices = [route.price for other in others for route in other.routes]
    routes = [
        replace(route, price=max([route.price, *prices], key=_dearness), _tariffs={}) for route in candidates.routes
    ]
    return Candidates(routes, candidates)  # whose turn it is goes on


def _dearness(price: Price) -> Fraction:
    """How dear a price is, nano-USD for 10^6 tokens of a usual mixture in its dearest context tier."""
    dearest = max(price.at_most(None, None), key=_mixture)
    return _mixture(dearest)


def _mixture(price: Price) -> Fraction:
    return Fraction(_INPUT_WEIGHT * price.dearest_input + price.dearest_output, price.scale)
