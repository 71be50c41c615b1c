"""sub2api's usage call, which tools ask for a wallet: `{isValid, planName, remaining, unit}`, as it was first published, and the
two members that tell its form today (https://github.com/Wei-Shaw/sub2api/pull/452): `mode` and `balance`. Amounts are dollars.

A refusal says `isValid: false` and has OpenAI's `error` beside it: its readers look at either.
"""

from __future__ import annotations
