"""The hold of a call and its one settlement.

Entering the block sets credits aside (402, 429 or 503 before anything is sent); leaving it, however that happens, settles
or releases exactly once. Settlement runs in the caller's own task: nothing cancels handlers, a client that leaves only
ends waiting. Where Redis is away at the end, the settlement goes to the spool. Amounts are microcredits.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Self

from proxy.core import records
from proxy.core.errors import InvalidRequest, Unavailable
from proxy.core.outcomes import UNKNOWN, Extended, Gone, Held, HoldRequest, Refused
from proxy.pipeline.admit import hold_bound_microcredits, refusal, tokens_taken
from proxy.pipeline.allowed import check_models, check_reach
from proxy.pipeline.ended import CreditsExhausted, count_call, forget_trace, outcome_of
from proxy.pipeline.receipt import (
    basis_of,
    checkpoint_record,
    counted,
    draft_record,
    final_record,
)
from proxy.pipeline.refine import refine
from proxy.pipeline.resources import Resources, Unfinished
from proxy.pipeline.strict import afford, limit_output
from proxy.pipeline.turnstile import Turnstile
from proxy.providers.dialect import FREE
from proxy.records.row import CallRecord, encode_record, usage_record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from types import TracebackType

    from proxy.accounts.authenticator import Authenticator
    from proxy.config import Credits as CreditsConfig
    from proxy.core.outcomes import Ended, Stale, Standing, UnknownAccount
    from proxy.ledger.ledger import Ledger
    from proxy.metrics import Metrics
    from proxy.pipeline.call import Call
    from proxy.pipeline.spool import Spool
    from proxy.providers.dialect import Meter
    from proxy.providers.tokens import TokenCounter
    from proxy.tasks import Tasks

log = logging.getLogger("farebox.hold")

_FIRST_ERROR_STATUS = 400
_STALE_ROUNDS = 3
_RENEWED_AT_ONCE = 64
# Clients that are cut off together leave calls that want counting, up to half a millisecond each.
_BAD_ENDS_A_TURN = 4
# The first checkpoint: until then a call whose worker dies is free. One more script for calls that take longer.
_FIRST_NOTE_S = 0.5
# How far output may seem to be above its limit before the hold grows: a token of blanks has many bytes.
_OVER, _OVER_TOKENS = 4, 256


class Credits:
    """Makes holds, keeps those of running calls alive, and knows where settlements go."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        authenticator: Authenticator,
        counter: TokenCounter,
        spool: Spool,
        metrics: Metrics,
        resources: Resources,
        config: CreditsConfig,
    ) -> None:
        self.ledger = ledger
        self.authenticator = authenticator
        self.counter = counter
        self.spool = spool
        self.metrics = metrics
        self.resources = resources
        self.config = config
        self.strict = config.mode == "strict"
        self.open: dict[str, Hold] = {}
        self.ends = Turnstile(_BAD_ENDS_A_TURN, collects=True)

    def hold(self, call: Call) -> Hold:
        """The hold of a call, to be entered."""
        return Hold(self, call)

    def start(self, tasks: Tasks) -> None:
        """Starts the renewal of leases and checkpoints of running calls."""
        tasks.every("hold renewal", 1.0, self._renew)

    async def _renew(self) -> None:
        now, due = monotonic(), list[Hold]()
        for hold in list(self.open.values()):
            if hold.renewal_due(now):
                due.append(hold)
            if len(due) == _RENEWED_AT_ONCE:  # calls go on between
                await self._renew_these(due)
                due.clear()
        await self._renew_these(due)

    @staticmethod
    async def _renew_these(due: Sequence[Hold]) -> None:
        # The scripts of all of them leave in one write.
        await asyncio.gather(*(hold.renew() for hold in due))


class Hold:
    """Credits set aside for one call; an async context manager whose exit is the call's settlement."""

    __slots__ = (
        "_credits",
        "_draft",
        "_ended",
        "_enough",
        "_extending",
        "_growths",
        "_renewed_at",
        "_step",
        "amount",
        "balance",
        "call",
        "charge",
        "kept",
        "standings",
        "token_limit",
    )

    def __init__(self, credits_: Credits, call: Call) -> None:
        self._credits = credits_
        self.call = call
        self.amount = 0
        self.charge: int | None = None
        self.balance: int | None = None
        self.standings: tuple[Standing, ...] = ()
        self.token_limit: int | None = None  # that mode strict has set
        self._ended = False
        self._extending = False
        self._growths = 0
        self._enough: int | None = None  # found out once, and after each growth
        self.kept = False
        self._step = 0
        self._renewed_at = 0.0

    async def __aenter__(self) -> Self:
        """Holds, or raises what the refusal means: 402, 429, 503."""
        call, tokens = self.call, 0
        if call.operation.billing != FREE:
            if self._credits.strict:
                self.token_limit = limit_output(call)
            tokens = self._bound()
        answer = await self._ask(tokens)
        held = answer if isinstance(answer, Held) else await self._insist(answer, tokens)
        self.standings = held.standings
        self._renewed_at = monotonic()
        self._credits.open[call.call_id] = self
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Settles or releases; an error goes on after it."""
        if error is not None:
            del trace
            forget_trace(error)
            await self._credits.ends.pass_through()
        if not self._ended:
            await self.settle(error)

    async def settle(self, error: BaseException | None = None) -> None:
        """Ends the hold with what the call cost; a second time changes nothing.

        Sets `charge` and, where Redis answered, `balance`.
        """
        if self._ended:
            return
        self._ended = True
        call, credits_ = self.call, self._credits
        credits_.open.pop(call.call_id, None)
        call.outcome = outcome_of(call, error)
        if call.meter is not None and call.meter.resource is not None and await self._left_open(call.meter):
            return
        basis = basis_of(call)
        count = None
        if basis == records.COUNTED:
            basis, count = await counted(call, credits_.counter)
        record = final_record(self._draft, call, self.amount, basis, count)
        try:
            ended: Ended | None = await self._end(record)
        except (InvalidRequest, Unavailable) as failure:
            ended = await self._end_otherwise(record, failure)
        self.charge = record.charge_microcredits
        if ended is not None and ended.state == UNKNOWN and record.settlement_basis != records.NONE:
            await self._spool(record, "Redis was rebuilt meanwhile")
        elif ended is not None:
            self.balance = ended.posted_microcredits
        count_call(credits_.metrics, call, record, self.amount, error)

    def _end(self, record: CallRecord) -> Awaitable[Ended]:
        """Hands the record to the ledger."""
        call, ledger = self.call, self._credits.ledger
        account_id, call_id = call.caller.account_id, call.call_id
        if record.settlement_basis == records.NONE:
            return ledger.release(account_id, call_id, encode_record(record))
        tokens = record.input_tokens + record.output_tokens
        return ledger.settle(account_id, call_id, record.charge_microcredits, tokens, encode_record(record))

    async def _end_otherwise(self, record: CallRecord, failure: InvalidRequest | Unavailable) -> Ended | None:
        """Where the ledger cannot take the record as it is, or not now; None where it went to the spool."""
        if isinstance(
            failure, InvalidRequest
        ):  # more than the account can ever have spent: the hold is what it can pay
            record.settlement_basis, record.charge_microcredits = records.HOLD, self.amount
            try:
                return await self._end(record)
            except Unavailable as error:
                failure = error
        await self._spool(record, failure.code)
        return None

    async def _spool(self, record: CallRecord, why: str) -> None:
        """Keeps a settlement where Redis is away or has lost the hold."""
        call = self.call
        log.warning("call %s: its settlement goes to the spool: %s", call.call_id, why)
        tokens = record.input_tokens + record.output_tokens
        charge, payload = record.charge_microcredits, encode_record(record)
        await self._credits.spool.put(call.caller.account_id, call.call_id, charge, tokens, payload)

    async def keep(self, resource: str) -> None:
        """Notes whose a stored answer is, before the client reads its id; a second time does nothing."""
        if self.kept:
            return
        self.kept = True
        if resource not in self.call.ask.resources:
            resources = self._credits.resources
            await resources.remembered(resources.remember(self.call, resource))

    async def _left_open(self, meter: Meter) -> bool:
        """Sees to an answer that the provider keeps; True where it goes on working on it, and the hold stays for that."""
        call, resources = self.call, self._credits.resources
        assert meter.resource is not None
        if meter.resource in call.ask.resources:
            await resources.fetched(call, meter)
            return False
        if not meter.pending or meter.usage is not None or meter.flag is not None or call.operation.billing == FREE:
            await self.keep(meter.resource)
            return False
        self._draft.status, self._draft.attempts = call.status, call.attempts
        self._draft.provider = call.route.endpoint.provider
        self._draft.hold_microcredits = self._draft.charge_microcredits = self.amount
        self._draft.settlement_basis = records.HOLD
        record = usage_record(self._draft, call.call_id, call.caller.account_id)
        noted = resources.remember(call, meter.resource, Unfinished(record, call.tariff, call.ask.service_tier))
        await self._extend(self.amount, self._draft, self._credits.config.background_lease_s)
        await resources.remembered(noted)
        return True

    # While the call runs.

    def needs_more(self) -> bool:
        """Whether the output that has passed comes close to what is held; cheap enough to ask for every piece."""
        meter, enough = self.call.meter, self._enough
        if meter is None:
            return False
        if enough is None:
            enough = self._enough = self._enough_tokens()
        return meter.output_so_far > enough and not self._extending

    def _enough_tokens(self) -> int:
        """Of output: up to so many, no more need be held."""
        ask = self.call.ask
        step = self.call.tariff.price.assumed_output_tokens * ask.choices
        if ask.output_limit is None:
            return step * (self._growths + 1) - step // 4
        # A limit by a name that this provider does not know is none. Well above it, for what has passed is only estimated.
        return _OVER * ask.output_limit * ask.choices + _OVER_TOKENS + step * self._growths

    async def grow(self) -> None:
        """Holds another step of output. Raises CreditsExhausted where the credits are not there and the policy is `cut`."""
        tariff = self.call.tariff
        self._growths += 1
        self._enough = None
        step = tariff.price.assumed_output_tokens * self.call.ask.choices
        more = tariff.growth_microcredits(step, self.call.ask.service_tier)
        extended = await self._extend(self.amount + more, checkpoint_record(self.call, self.amount))
        if extended is not None and not extended.granted and self._credits.config.exhausted == "cut":
            raise CreditsExhausted

    def renewal_due(self, now: float) -> bool:
        """Whether the lease or the checkpoint wants renewing. `now` in monotonic seconds."""
        config = self._credits.config
        lease = config.lease_s / 3
        if not self._step:
            interval = min(_FIRST_NOTE_S, lease)
        else:
            interval = lease if self.call.meter is None else min(config.checkpoint_s, lease)
        return not (self._ended or self._extending) and now - self._renewed_at >= interval

    async def renew(self) -> None:
        """Renews the lease and notes what the call has cost so far."""
        await self._extend(self.amount, checkpoint_record(self.call, self.amount))

    async def _extend(self, amount: int, draft: CallRecord, lease_s: int | None = None) -> Extended | None:
        """Extends to an absolute amount; None where Redis is away or the hold is gone (the stream goes on)."""
        self._extending = True
        self._step += 1
        try:
            extended = await self._credits.ledger.extend(
                self.call.caller.account_id,
                self.call.call_id,
                self._step,
                amount,
                min(draft.charge_microcredits, self.amount),
                (lease_s or self._credits.config.lease_s) * 1000,
                encode_record(draft),
            )
        except Unavailable as error:
            log.warning("call %s: the hold could not be renewed: %s", self.call.call_id, error.code)
            return None
        finally:
            self._extending = False
            self._renewed_at = monotonic()
        if isinstance(extended, Gone):
            return None
        self.amount = extended.amount_microcredits
        return extended

    def _bound(self) -> int:
        """Makes `amount` the most that the call can cost; the tokens that it takes of a limit."""
        call = self.call
        size = len(call.body)
        self.amount = hold_bound_microcredits(call.ask, size, call.tariff)
        return tokens_taken(call.ask, size, call.tariff)

    def _ask(self, tokens: int) -> Awaitable[Held | Refused | Stale | UnknownAccount]:
        """Asks the ledger, with a new draft of the record."""
        call, credits_ = self.call, self._credits
        caller = call.caller
        draft = self._draft = draft_record(call, self.amount)
        limits = caller.limits_for(call.ask.model)
        lease_ms = credits_.config.lease_s * 1000
        account_id, call_id = caller.account_id, call.call_id
        return credits_.ledger.hold(
            HoldRequest(
                account_id, call_id, self.amount, tokens, lease_ms, limits, caller.version, encode_record(draft)
            )
        )

    async def _insist(self, answer: Held | Refused | Stale | UnknownAccount, tokens: int) -> Held:
        """Asks again after another answer, where that makes sense; raises what a refusal means."""
        asked = 1
        while not isinstance(answer, Held):
            tokens = await self._look_again(answer, tokens)
            if asked == _STALE_ROUNDS:
                raise Unavailable
            answer, asked = await self._ask(tokens), asked + 1
        return answer

    async def _look_again(self, answer: Refused | Stale | UnknownAccount, tokens: int) -> int:
        """The tokens to ask for once more: with a smaller bound, or as a key that has changed (revoked, new limits)."""
        call, credits_ = self.call, self._credits
        if isinstance(answer, Refused):
            if credits_.strict and (limit := afford(call, answer)) is not None:
                self.token_limit = limit
                return self._bound()
            if not credits_.strict and await refine(call, answer, credits_.counter):
                return self._bound()
            self.standings = answer.standings
            raise refusal(answer)
        # Stale, or an account that the ledger does not know yet: SQL has the last word, and repairs the ledger's.
        credits_.authenticator.forget(call.caller)
        call.caller = await credits_.authenticator.caller_of(call.caller.digest)
        check_reach(call.caller, call.exchange)
        check_models(call.caller, call.operation, call.ask)
        return tokens
