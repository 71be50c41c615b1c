"""Credits by command: corrections, refunds, grants, codes, reservations; what is recorded, searched and summed; who it was."""

import asyncio
import getpass
import itertools
from collections.abc import Iterator

import pytest

from proxy.accounts.reservations import ReservationOrder, Reservations
from proxy.core.clock import SystemClock
from proxy.ledger.credit_scripts import CreditScripts
from proxy.ledger.scripts import RedisScripts
from tests.support.books import stores_of
from tests.support.command_line import Said
from tests.support.command_line import farebox as run_command
from tests.support.installation import Installation
from tests.support.mock_provider import MockProvider
from tests.support.processes import until
from tests.support.small_call import call

ACTOR = f"cli:{getpass.getuser()}"
_numbers = itertools.count()


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with MockProvider() as provider, Installation(tmp_path_factory.mktemp("cli"), provider) as running:
        yield running


@pytest.fixture
def account(farebox: Installation) -> str:
    name = f"account {next(_numbers)}"
    farebox.command("account", "create", name, "--credits", "10")
    return name


def said(farebox: Installation, *words: str) -> Said:
    return run_command([*words, "--config", str(farebox.config)])


def called(farebox: Installation, name: str) -> dict:
    """The usage record of a call that the account just made."""
    assert call(farebox, farebox.command("key", "create", name)["key"]) == 200
    return farebox.usage(name, 1)[0]


def actions(farebox: Installation, subject: str) -> list[tuple[str, str]]:
    return [(row["actor"], row["action"]) for row in farebox.lines("admin", "log", "--subject", subject)]


def test_a_correction_in_either_direction_is_made_once_and_logged(farebox: Installation, account: str) -> None:
    given = farebox.command("adjust", account, "2.5", "--key", "a", "--reason", "goodwill")
    assert (given["kind"], given["amount_microcredits"], given["actor"]) == ("adjustment", 2_500_000, ACTOR)
    taken = farebox.command("adjust", account, "-12", "--key", "b", "--reason", "mistake", "--yes")
    assert farebox.command("adjust", account, "-12", "--key", "b", "--reason", "mistake", "--yes") == taken
    assert farebox.balance(account)["microcredits"] == 500_000
    assert actions(farebox, given["account_id"]) == [
        (ACTOR, "credit.adjustment"),
        (ACTOR, "credit.adjustment"),
        (ACTOR, "credit.topup"),
        (ACTOR, "account.create"),
    ]


def test_taking_is_asked_about_and_can_be_bounded(farebox: Installation, account: str) -> None:
    refused = said(farebox, "adjust", account, "-1", "--key", "c", "--reason", "r")
    assert (refused.returncode, "Say --yes" in refused.stderr) == (2, True)
    too_much = said(
        farebox, "adjust", account, "-10.000001", "--key", "d", "--reason", "r", "--yes", "--available-only"
    )
    assert too_much.returncode == 1
    assert farebox.balance(account)["microcredits"] == 10_000_000
    record = called(farebox, account)
    everything = said(farebox, "adjust", account, "-10.000001", "--key", "e", "--reason", "r", "--yes")
    assert (everything.returncode, "No more can be taken" in everything.stderr) == (1, True)
    bounded = ("adjust", account, "-10", "--key", "f", "--reason", "r", "--yes")
    assert said(farebox, *bounded, "--available-only").returncode == 1
    farebox.command(*bounded[:4], "g", *bounded[5:])
    assert farebox.balance(account)["microcredits"] == -record["charge_microcredits"]


def test_a_refund_is_never_more_than_the_charge(farebox: Installation, account: str) -> None:
    record = called(farebox, account)
    charge = record["charge_microcredits"]
    first = farebox.command("refund", record["call_id"], "--credits", "0.001", "--key", "r1")
    assert (first["kind"], first["amount_microcredits"], first["call_id"]) == ("refund", 1000, record["call_id"])
    rest = farebox.command("refund", record["call_id"], "--key", "r2", "--reason", "all of it")
    assert first["amount_microcredits"] + rest["amount_microcredits"] == charge
    more = said(farebox, "refund", record["call_id"], "--key", "r3", "--credits", "0.000001")
    assert more.returncode == 1
    assert "of them are returned" in more.stderr
    assert farebox.balance(account)["microcredits"] == 10_000_000
    unknown = said(farebox, "refund", "nobody", "--key", "r4")
    assert (unknown.returncode, "farebox usage ACCOUNT" in unknown.stderr) == (1, True)
    shown = farebox.command("call", record["call_id"])
    assert shown["charge_microcredits"] == charge
    until(lambda: len(farebox.command("call", record["call_id"])["entries"]) == 3)


def test_a_grant_is_given_once_listed_and_revoked(farebox: Installation, account: str) -> None:
    words = ("grant", "give", account, "5", "--key", "g", "--expires", "30d", "--priority", "7", "--reason", "welcome")
    given = farebox.command(*words)
    assert (given["status"], given["priority"], given["entry"]["kind"]) == ("live", 7, "grant")
    other = said(farebox, *words[:3], "6", *words[4:])
    assert (other.returncode, "idempotency key" in other.stderr) == (1, True)
    assert farebox.balance(account)["microcredits"] == 15_000_000
    (listed,) = farebox.lines("grant", "list", account)
    assert (listed["id"], listed["remaining_microcredits"]) == (given["id"], 5_000_000)
    assert said(farebox, "grant", "revoke", given["id"]).returncode == 2
    ended = farebox.command("grant", "revoke", given["id"], "--yes")
    assert (ended["status"], ended["expired_microcredits"]) == ("revoked", 5_000_000)
    assert farebox.balance(account)["microcredits"] == 10_000_000
    assert actions(farebox, given["id"]) == [(ACTOR, "grant.revoke")]
    assert "farebox grant give" not in said(farebox, "grant", "list", account).stdout


def test_a_code_is_redeemed_by_one_account_once(farebox: Installation, account: str) -> None:
    farebox.command("account", "create", f"other of {account}")
    first, second, third = farebox.lines("code", "create", "3", "--count", "3", "--expires", "1h", "--reason", "fair")
    assert first["code"].startswith("FB-")
    entry = farebox.command("code", "redeem", account, first["code"].lower())
    assert (entry["amount_microcredits"], entry["after_microcredits"]) == (3_000_000, 13_000_000)
    assert farebox.command("code", "redeem", account, first["code"]) == entry
    taken = said(farebox, "code", "redeem", f"other of {account}", first["code"])
    assert (taken.returncode, "redeemed" in taken.stderr) == (1, True)
    assert farebox.command("code", "revoke", second["id"], "--yes")["status"] == "revoked"
    assert said(farebox, "code", "redeem", account, second["code"]).returncode == 1
    batch = farebox.lines("code", "list", "--batch", first["batch_id"])
    assert {row["id"]: row["status"] for row in batch} == {
        first["id"]: "redeemed",
        second["id"]: "revoked",
        third["id"]: "active",
    }
    assert not [row for row in batch if "code" in row]
    assert (ACTOR, "code.redeem") in actions(farebox, entry["account_id"])


def test_a_reservation_is_listed_and_cancelled(farebox: Installation, account: str) -> None:
    account_id = farebox.command("account", "show", account)["id"]

    async def reserve() -> str:
        async with stores_of(farebox) as stores:
            scripts = CreditScripts(stores.ledger, RedisScripts(stores.redis))
            reservations = Reservations(stores.database, stores.ledger, scripts, SystemClock())
            return (await reservations.create(account_id, ReservationOrder(4_000_000, "render", "gpt"))).id

    made = asyncio.run(reserve())
    assert farebox.balance(account)["available"] == 6_000_000
    (listed,) = farebox.lines("reservation", "list", account, "--active")
    assert (listed["id"], listed["operation"], listed["metadata"]) == (made, "render", {})
    assert said(farebox, "reservation", "cancel", made).returncode == 2
    assert farebox.command("reservation", "cancel", made, "--yes")["status"] == "cancelled"
    assert farebox.balance(account)["available"] == 10_000_000
    assert farebox.lines("reservation", "list", account, "--active") == []
    assert actions(farebox, made) == [(ACTOR, "reservation.cancel")]


def test_usage_and_ledger_are_searched_by_what_is_said_of_them(farebox: Installation, account: str) -> None:
    record = called(farebox, account)
    until(lambda: len(farebox.lines("ledger", account)) == 2)
    same = ("--model", record["model"], "--provider", record["provider"], "--key", record["key_id"])
    assert farebox.lines("usage", account, *same, "--outcome", "completed", "--since", "1h") == [record]
    (charge,) = farebox.lines("ledger", account, *same, "--until", "2100-01-01")
    assert (charge["kind"], charge["call_id"]) == ("charge", record["call_id"])
    assert [row["kind"] for row in farebox.lines("ledger", account, "--kind", "topup")] == ["topup"]
    for words in (("--model", "%"), ("--provider", "other"), ("--outcome", "cut"), ("--until", "1h")):
        assert farebox.lines("usage", account, *words) == [], words
        assert farebox.lines("ledger", account, *words, "--kind", "charge") == [], words
    assert "No calls like that" in said(farebox, "usage", account, "--model", "' OR 1=1 --").stdout
    assert said(farebox, "usage", account, "--since", "tomorrow").returncode == 2
    assert said(farebox, "usage", account, "--since", "1h", "--until", "2h").returncode == 2


def test_sums_are_those_of_the_records(farebox: Installation, account: str) -> None:
    record = called(farebox, account)
    wanted = {name: record[name] for name in ("input_tokens", "output_tokens", "cost_nano_usd", "charge_microcredits")}
    (by_day,) = farebox.lines("usage-summary", "--account", account)
    assert {**wanted, "calls": 1, "cached_tokens": 0} == {name: by_day[name] for name in by_day if name != "day"}
    (by_both,) = farebox.lines("usage-summary", "--account", account, "--by", "model", "--by", "key", "--since", "1h")
    assert (by_both["model"], by_both["key_id"]) == (record["model"], record["key_id"])
    (by_tag,) = farebox.lines("usage-summary", "--account", account, "--by", "tag:team")
    assert (by_tag["tag"], by_tag["charge_microcredits"]) == (None, record["charge_microcredits"])
    assert farebox.lines("usage-summary", "--account", account, "--model", "other") == []
    (by_hour,) = farebox.lines(
        "usage-summary", "--account", account, "--by", "hour", "--by", "status", "--by", "service"
    )
    assert (by_hour["hour"], by_hour["status"], by_hour["calls"]) == (
        f"{by_hour['hour'][:13]}:00",
        200,
        by_day["calls"],
    )
    assert by_hour["service"]
    assert by_hour["hour"].startswith(by_day["day"])
    assert said(farebox, "usage-summary", "--by", "moon").returncode == 2
    assert said(farebox, "usage-summary", "--by", "hour", "--by", "day").returncode == 2


def test_a_running_farebox_is_made_to_reload_and_one_that_is_not_there_is_told(farebox: Installation) -> None:
    assert farebox.command("reload") == {"providers": 1, "prices": 1}
    text = farebox.config.read_text()
    other = farebox.directory / "other.toml"
    other.write_text(text.replace(f":{farebox.admin_port}", ":9"))
    refused = run_command(["reload", "--config", str(other)])
    assert (refused.returncode, "Is `farebox serve` running?" in refused.stderr) == (1, True)


def test_a_threshold_is_set_and_taken_away(farebox: Installation, account: str) -> None:
    assert (
        farebox.command("account", "update", account, "--low-balance", "2.5")["low_balance_microcredits"] == 2_500_000
    )
    assert "low balance  2.5" in said(farebox, "account", "show", account).stdout
    assert farebox.command("account", "update", account, "--low-balance", "none")["low_balance_microcredits"] is None
    assert farebox.lines("webhook", "list", "--account", account) == []
    assert said(farebox, "webhook", "resend", "nobody").returncode == 1


def test_the_books_are_balanced(farebox: Installation) -> None:
    assert farebox.audit()["ok"]


@pytest.mark.parametrize(
    "words",
    [
        ("grant", "give", "ACCOUNT", "5", "--key", "late"),
        ("code", "create", "5"),
        ("admin", "create", "late", "--role", "read"),
        ("key", "create", "ACCOUNT"),
    ],
)
def test_what_would_be_over_at_once_is_refused_in_the_words_that_were_typed(
    farebox: Installation, account: str, words: tuple[str, ...]
) -> None:
    refused = said(farebox, *(account if word == "ACCOUNT" else word for word in words), "--expires", "2020-01-01")
    assert (refused.returncode, "'2020-01-01' is over already" in refused.stderr) == (2, True)
