"""Grants, refunds and takings: the real scripts against the pure model, and whether the comparison is worth anything."""

from random import Random

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from proxy.core.money import MAX_AMOUNT
from proxy.ledger import credit_scripts
from proxy.ledger.scripts import load
from tests.support.grant_machine import MOST, STEPS, GrantMachine
from tests.support.ledger_runner import Mutation
from tests.support.redis_server import RedisServer

HISTORIES = 60
HISTORIES_TO_NOTICE = 300  # where the one that a mutation names shows it no more
FIRST = (0, 500, 10_000, MAX_AMOUNT)

MUTATIONS = (
    # grant
    Mutation("a debt leaves a new grant whole", "mark = keep_within(live, after, mark, spent)\n", "", "grant"),
    Mutation("the dearest expiry burns first", "grant.expires < expires", "grant.expires > expires", "grant"),
    Mutation("priority does not matter", "grant.priority < priority", "grant.priority <= priority", "grant", 35),
    Mutation("the newest id burns first", "grant.id < ARGV[9]", "grant.id > ARGV[9]", "grant"),
    Mutation("grants are not bounded", "if #live >= most then", "if false then", "grant"),
    Mutation("a grant burns for what was spent before it", "return {}, spent end", "return {}, 0 end", "grant"),
    Mutation("a repeat grants again", "if value then\n  local first_seq", "if false then\n  local first_seq", "grant"),
    Mutation("another content is taken for a repeat", "first_digest ~= digest or", "", "grant"),
    Mutation("another's operation is taken for a repeat", "or owner ~= ARGV[2] then", "then", "grant", 26),
    Mutation("credits pass 2^53-1", "if amount > MAX - credited then", "if false then", "grant"),
    Mutation("used-up grants stay", "if grant.remaining > 0 then left", "if true then left", "grant", 30),
    Mutation("a correction burns what it gave back", "if spent > mark then", "if spent ~= mark then", "grant", 124),
    # expire_grant
    Mutation("an expiry does not wait", "if now < ends_at then", "if false then", "expire_grant"),
    Mutation("an expiry takes what holds need", "math.min(grant.remaining, posted - held)", "grant.remaining", "expire_grant"),
    Mutation("an expiry takes from spending", "credited - amount, spent", "credited, spent + amount", "expire_grant"),
    Mutation("an expiry forgets what was burned", "attributed(call('GET', KEYS[5]), spent)", "attributed(call('GET', KEYS[5]), 0)", "expire_grant"),
    Mutation("an expired grant stays", "grant.remaining = grant.remaining - amount", "", "expire_grant"),
    Mutation("a repeat expires again", "if value then\n  local first_seq", "if false then\n  local first_seq", "expire_grant"),
    # take
    Mutation("a taking leaves grants above the balance", "mark = keep_within(live, after, mark, spent)", "", "take"),
    Mutation("a taking burns grants first", "mark = keep_within(live, after, mark, spent)", "burn(live, amount)", "take"),
    Mutation("what was taken back is made up for", "mark = keep_within(live", "keep_within(live", "take", 112),
    Mutation("more is taken than was credited", "if amount > credited then", "if false then", "take"),
    Mutation("a taking forgets what was burned", "store_grants(KEYS[5], live, mark)", "", "take"),
    Mutation("a deduction takes what is not there", "if ARGV[9] == '1' and amount", "if false and amount", "take"),
    Mutation("a deduction takes what is held", "amount > posted - held then return", "amount > posted then return", "take"),
    Mutation("a deduction leaves the last microcredit", "amount > posted - held then return", "amount >= posted - held then return", "take"),
    # refund
    Mutation("a refund passes the charge", "amount > charge - refunded then", "amount > charge then", "refund", 12),
    Mutation("a refund may be of nothing", "if amount <= 0 or", "if", "refund"),
    Mutation("refunds are forgotten", "refunded = math.max(refunded, (parse('<i8', sum)))", "", "refund"),
    Mutation("a running call is refunded", "if letter == 72 then", "if false then", "refund"),
    Mutation("another's call is refunded", "if owner ~= ARGV[2] then return { 'unknown_call' } end\nend\nif not charge", "end\nif not charge", "refund"),
    Mutation("a refunded call is corrected all the same", "if letter == 88 then", "if false then", "refund", 21),
    Mutation("the whole rest is the whole charge", "amount = charge - refunded end", "amount = charge end", "refund"),
    Mutation("a refund lowers spending", "credited + amount, spent", "credited, spent - amount", "refund"),
    Mutation("credits pass 2^53-1 by a refund", "if amount > MAX - credited then", "if false then", "refund"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def few_grants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credit_scripts, "MAX_LIVE", MOST)


def agrees(server: RedisServer, number: int, mutation: Mutation | None = None) -> bool:
    """Whether the history of a number, the same in every run, shows no difference between scripts and model."""
    random = Random(number)
    machine = GrantMachine(server, mutation, lambda _: None)
    try:
        machine.begin(random.choice(FIRST))
        for _ in range(STEPS):
            machine.do(random.getrandbits(64))
            machine.check()
    except (AssertionError, ValueError):  # the sides differ, or are not equally long
        return False
    finally:
        machine.close()
    return True


def test_scripts_and_model_agree(each_redis_server: RedisServer) -> None:
    class Histories(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.machine = GrantMachine(each_redis_server, None, note)

        def teardown(self) -> None:
            self.machine.close()

        @initialize(first=st.sampled_from(FIRST))
        def begin(self, first: int) -> None:
            self.machine.begin(first)

        @rule(seed=st.integers(0, 2**64 - 1))
        def do(self, seed: int) -> None:
            self.machine.do(seed)

        @invariant()
        def both_sides_are_equal(self) -> None:
            if self.machine.model.accounts:
                self.machine.check()

    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: f"{mutation.script}: {mutation.name}")
def test_a_rule_taken_out_of_a_script_is_noticed(redis_server: RedisServer, mutation: Mutation) -> None:
    assert mutation.old in load(mutation.script).text.decode(), "the mutation does not apply"
    numbers = (mutation.history, *range(HISTORIES_TO_NOTICE))
    number = next((number for number in numbers if not agrees(redis_server, number, mutation)), None)
    assert number is not None
    assert agrees(redis_server, number)  # so that it was the mutation
