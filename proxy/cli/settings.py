"""Options that accounts and keys share: limits one by one, and the texts that stand for nothing."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import click

from proxy.accounts.limits import SPEEDS
from proxy.core.limits import BUDGET_KINDS

T = TypeVar("T")
NONE = "none"
KINDS = (*SPEEDS, *BUDGET_KINDS)

limit_option = click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="KIND=VALUE",
    help=f"Change one limit (repeatable; VALUE {NONE} removes it): {', '.join(KINDS)}. Budgets are in credits.",
)


def changed_limits(before: Mapping[str, object], pairs: Iterable[str]) -> dict[str, object]:
    """The limits with what `--limit` says. Raises click's UsageError."""
    limits = dict(before)
    for pair in pairs:
        kind, equals, value = pair.partition("=")
        if not equals or kind not in KINDS:
            raise click.UsageError(f"{pair!r} is not KIND=VALUE; kinds: {', '.join(KINDS)}")
        if value == NONE:
            limits.pop(kind, None)
        elif kind in SPEEDS:
            if not value.isascii() or not value.isdecimal() or len(value) > 11:
                raise click.UsageError(f"{kind} is a whole number, or {NONE}")
            limits[kind] = int(value)
        else:
            limits[kind] = value
    return limits


def pairs_from(pairs: Iterable[str], what: str) -> dict[str, str]:
    """NAME=VALUE options as a dict. Raises click's UsageError."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise click.UsageError(f"{pair!r} is not NAME=VALUE: {what}")
        found[name] = value
    return found


def all_or(values: tuple[str, ...]) -> list[str] | None:
    """A repeatable option: the single word `all` stands for None."""
    return None if values == ("all",) else list(values)


def unless_none(text: str, read: Callable[[str], T]) -> T | None:
    """The value, or None for the word `none`."""
    return None if text == NONE else read(text)
