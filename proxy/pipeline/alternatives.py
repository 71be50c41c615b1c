"""Requests that let the provider answer with another model than the one that they ask for.

Held at the dearest of the named models, charged at the one that the answer names, but never below the price of the model
that was asked for: an answer cannot make a call cheaper. Where it names none of them, the dearest counts. All of them are
such as the key may use, known here and priced: otherwise the call is refused like one for that model.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

from proxy.pipeline.candidates import Candidates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.core.pricing import Price, Tariff
    from proxy.pipeline.call import Call
    from proxy.pipeline.candidates import Route

# Calls have more input than output: the weight of an input token against one of output, where no price is dearer in both.
_INPUT_WEIGHT = 3


def at_dearest(candidates: Candidates, others: Mapping[str, Candidates]) -> Candidates:
    """The same routes, each at the dearest price among its own and the other models', and knowing what each one costs."""
    prices: dict[str, Price] = {}
    for model, found in others.items():
        dearest = max((route.price for route in found.routes), key=_dearness)
        prices |= {name: dearest for route in found.routes for name in (model, route.own_model) if name is not None}
    return Candidates([_widened(route, prices) for route in candidates.routes])


def settled_tariff(call: Call) -> Tariff:
    """The tariff of a call that named several models, by the answer that came. Dated names are those that they begin with."""
    answered = None if call.meter is None else call.meter.answered_by
    named = call.route.named
    fits = [name for name in named if answered is not None and answered.startswith(name)]
    return replace(call.tariff, price=named[max(fits, key=len)]) if fits else call.tariff


def _widened(route: Route, prices: Mapping[str, Price]) -> Route:
    own = route.price
    named = {name: max((own, price), key=_dearness) for name, price in prices.items()}
    named |= {name: own for name in (route.model, route.own_model) if name is not None}
    return replace(route, price=max(named.values(), key=_dearness), named=named, _tariffs={})


def _dearness(price: Price) -> Fraction:
    """How dear a price is, nano-USD for 10^6 tokens of a usual mixture in its dearest context tier."""
    return max(_mixture(one) for one in price.at_most(None, None))


def _mixture(price: Price) -> Fraction:
    return Fraction(_INPUT_WEIGHT * price.dearest_input + price.dearest_output, price.scale)
