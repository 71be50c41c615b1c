"""What this project says otherwise than `genai-prices`, with the reason and the source of each: `data/corrections.jsonl`.

A correction changes a model of a provider, or adds one in front of the others. It is applied to every period of the model.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from importlib.resources import files

import msgspec

from proxy.core.usage import TOKEN_COUNTERS
from proxy.prices.entries import Entry, Period, read_sheet, write_sheet
from proxy.prices.rules import Rule


class Factor(msgspec.Struct, frozen=True):
    """A service tier that costs a multiple of the plain rates or `of` another tier's, of every token or of some counters."""

    times: str
    of: str = ""
    only: list[str] = []


class Correction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`set` replaces or adds rates, `match` the rules; `adds` makes a new model, `drop` leaves it without a price."""

    provider: str
    model: str
    reason: str
    source: str
    set: dict[str, str] = {}
    match: list[Rule] = []
    adds: bool = False
    service: dict[str, Factor] = {}
    minimum: dict[str, int] = {}
    drop: bool = False

    def fits(self, entry: Entry) -> bool:
        """Whether it is about this model; a leading or trailing `*` stands for the rest of the name."""
        if self.model.startswith("*"):
            return entry.model.endswith(self.model[1:])
        if self.model.endswith("*"):
            return entry.model.startswith(self.model[:-1])
        return entry.model == self.model


class Corrections:
    """All of them."""

    def __init__(self, text: bytes) -> None:
        self.all = msgspec.json.Decoder(Correction).decode_lines(text)

    def applied(self, provider: str, entries: Iterable[Entry]) -> Iterator[Entry]:
        """A provider's models with its corrections, the added ones first. A correction that fits nothing raises ValueError."""
        mine = [one for one in self.all if one.provider == provider]
        unused = {id(one): one for one in mine if not one.adds}
        for one in mine:
            if one.adds:
                yield _corrected(Entry(one.model, one.match), one)
        for entry in entries:
            corrected = entry
            for one in mine:
                if not one.adds and one.fits(entry):
                    corrected = _corrected(corrected, one)
                    unused.pop(id(one), None)
            yield corrected
        if unused:
            names = ", ".join(one.model for one in unused.values())
            msg = f"corrections of {provider} that fit no model: {names}"
            raise ValueError(msg)


def shipped_corrections() -> Corrections:
    """The corrections in this package."""
    return Corrections(files("proxy.prices").joinpath("data", "corrections.jsonl").read_bytes())


def _corrected(entry: Entry, one: Correction) -> Entry:
    if one.drop:  # the line stays, so that no later rule takes the name
        return Entry(entry.model, entry.match, source=one.source)
    periods = [msgspec.structs.replace(period, usd={**period.usd, **one.set}) for period in entry.periods]
    usd = entry.usd if periods else {**entry.usd, **one.set}
    service = dict(entry.service)
    for tier, factor in one.service.items():
        # Of several in force the last plain period counts, but the first of a tier's.
        base = service[factor.of] if factor.of else list(reversed(periods or [Period(usd)]))
        changes = [Period(_times(one.usd, factor), since=one.since, hours=one.hours) for one in base]
        service[tier] = [*service.get(tier, []), *changes]
    return msgspec.structs.replace(
        entry,
        usd=usd,
        periods=periods,
        service=service,
        match=one.match or entry.match,
        minimum={**entry.minimum, **one.minimum},
        source=one.source,
    )


def _times(usd: dict[str, str], factor: Factor) -> dict[str, str]:
    times = Fraction(factor.times)
    counters = factor.only or TOKEN_COUNTERS
    return write_sheet(
        {
            counter: tuple((above, rate * times) for above, rate in steps)
            for counter, steps in read_sheet(usd).items()
            if counter in counters
        }
    )
