"""Options that accounts and keys share: limits one by one, and the texts that stand for nothing."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import click

from proxy.accounts.limits import SPEEDS
from proxy.core.limits import BUDGET_KINDS

T = TypeVar("T")
NONE = "none"
KINDS = (*SPEEDS, *BUDGET_KINDS)

_LIMIT = click.option(
    "--limit",
    "limits",
    multiple=True,
    metavar="KIND=VALUE",
    help=f"One limit in another form (repeatable; VALUE {NONE} removes it): {', '.join(KINDS)}.",
)
_HELP = {
    "requests_per_minute": "At most this many calls a minute.",
    "tokens_per_minute": "At most this many tokens a minute; a call counts with its prompt and its token limit, until it has ended.",
    "concurrent": "At most this many calls at once.",
    "budget_day": "At most this many credits a UTC day.",
    "budget_week": "At most this many credits an ISO week.",
    "budget_month": "At most this many credits a month.",
    "budget_total": "At most this many credits in all.",
}


def limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds an option for every limit, and `--limit`; the command takes `limits`, all that were given as KIND=VALUE."""

    @functools.wraps(command)
    def wrapped(*args: object, limits: tuple[str, ...], **options: object) -> object:
        named = [f"{kind}={value}" for kind in KINDS if (value := options.pop(kind)) is not None]
        return command(*args, limits=(*named, *limits), **options)

    with_options: Callable[..., Any] = _LIMIT(wrapped)
    for kind in reversed(KINDS):
        metavar = "N" if kind in SPEEDS else "CREDITS"
        with_options = click.option(f"--{kind.replace('_', '-')}", kind, metavar=metavar, help=_HELP[kind])(
            with_options
        )
    return with_options


def changed_limits(before: Mapping[str, object], pairs: Iterable[str]) -> dict[str, object]:
    """The limits with what `--limit` says. Raises click's UsageError."""
    limits = dict(before)
    for pair in pairs:
        kind, equals, value = pair.partition("=")
        kind = kind.replace("-", "_")
        if not equals:
            raise click.UsageError(f"{pair!r} is not KIND=VALUE, such as {KINDS[0]}=60")
        if kind not in KINDS:
            raise click.UsageError(f"there is no limit {kind!r}; limits: {', '.join(KINDS)}")
        if value == NONE:
            limits.pop(kind, None)
        elif kind in SPEEDS:
            if not value.isascii() or not value.isdecimal() or len(value) > 11:
                raise click.UsageError(f"{kind} is a whole number above zero, or {NONE}; not {value!r}")
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
