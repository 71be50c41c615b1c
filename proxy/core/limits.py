"""Ceilings of a key, an account or a model: on speed (rate limits) and on money (budgets)."""

from typing import NamedTuple

REQUESTS = "requests"
TOKENS = "tokens"
CONCURRENT = "concurrent"
BUDGET_DAY = "budget_day"
BUDGET_WEEK = "budget_week"
BUDGET_MONTH = "budget_month"
BUDGET_TOTAL = "budget_total"

BUDGET_KINDS = (BUDGET_DAY, BUDGET_WEEK, BUDGET_MONTH, BUDGET_TOTAL)
KINDS = (REQUESTS, TOKENS, CONCURRENT, *BUDGET_KINDS)


class Limit(NamedTuple):
    """One ceiling: requests or tokens a minute, calls at once, or microcredits in a UTC day, ISO week, month or in all.

    `scope` is `key:<key id>`, `account`, or `model:<name>`, always within one account.
    """

    scope: str
    kind: str
    ceiling: int
