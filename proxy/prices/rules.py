"""Which names a model goes by: rules as data, evaluated here.

A rule is a text whose first character says how it is meant: `=` the name itself, `^` its beginning, `$` its end, `~` any
part of it, `/` a regular expression that is searched in it. A list of rules fits where one of them does; a list within
it only where all of its own do. Names are compared in lower case.
"""

import re
from functools import lru_cache

Rule = str | list[str]

FINE_TUNED = "ft:"
_COMPACT_DATE = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


def fits(rules: list[Rule], name: str) -> bool:
    """Whether a name, in lower case, is one of these."""
    return any(
        _fits(rule, name) if isinstance(rule, str) else all(_fits(inner, name) for inner in rule) for rule in rules
    )


def fine_tuned_only(rules: list[Rule]) -> list[Rule]:
    """The rules that are about fine-tuned models. A fine-tuned model never takes the price of its base."""
    return [rule for rule in rules if isinstance(rule, str) and (FINE_TUNED in rule or ".ft-" in rule)]


def is_fine_tuned(name: str) -> bool:
    """Whether a name, in lower case, is that of a fine-tuned model: `ft:gpt-4o:org::id`, `gpt-4o.ft-id`, `ft:codestral...`."""
    return name.startswith(FINE_TUNED) or ".ft-" in name or ":ft-" in name


def with_dashed_date(name: str) -> str:
    """`gpt-5.2-20251211` as `gpt-5.2-2025-12-11`: some gateways write the dates of models without dashes."""
    return _COMPACT_DATE.sub(r"-\1-\2-\3", name)


def _fits(rule: str, name: str) -> bool:
    kind, text = rule[0], rule[1:]
    if kind == "=":
        return name == text
    if kind == "^":
        return name.startswith(text)
    if kind == "$":
        return name.endswith(text)
    if kind == "~":
        return text in name
    return _compiled(text).search(name) is not None


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
