"""A new administrator's first day, by the command line alone and by the admin API alone: from nothing to a topped-up account with a limited
key, a refund and the month's CSV. Both days end with the same figures."""

import csv
import io
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from tests.support import command_line
from tests.support.admin_api import AdminApi
from tests.support.installation import INPUT_MICROCREDITS, OUTPUT_MICROCREDITS, Installation
from tests.support.processes import until
from tests.support.surfaces import ask, call, settled

CHARGE = 7 * INPUT_MICROCREDITS + 5 * OUTPUT_MICROCREDITS
REFUND = 4_000
BOUGHT = 25_000_000


def month() -> tuple[datetime, datetime]:
    """This month: its first moment, and the next one's."""
    first = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return first, (first + timedelta(days=32)).replace(day=1)


def customers_day(farebox: Installation, key: str) -> str:
    """What the customer does with the key: two calls, a third that its limit refuses, another model that it may not use."""
    first = call(farebox, key)
    call(farebox, key)
    body = {"model": "test-model", "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]}
    assert ask(farebox, "POST", "/v1/chat/completions", bearer=key, body=body).status == 429
    assert ask(
        farebox, "POST", "/v1/chat/completions", bearer=key, body={**body, "model": "unpriced-model"}
    ).status in {
        403,
        404,
    }
    settled(farebox)
    return first


def status(farebox: Installation, key: str) -> int:
    """How a small call with the key is answered."""
    body = {"model": "test-model", "max_tokens": 5, "messages": [{"role": "user", "content": "hello"}]}
    return ask(farebox, "POST", "/v1/chat/completions", bearer=key, body=body).status


def reserve(farebox: Installation, key: str) -> None:
    """An application sets a credit aside."""
    body = {"amount": 1, "operation": "render"}
    assert ask(farebox, "POST", "/v1/reservations/create", x_api_key=key, body=body).status in {200, 201}


def check_month(text: str, account: str, first: str) -> None:
    """The CSV has exactly the two calls, with what they cost."""
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["account_id"] for row in rows] == [account] * 2
    assert rows[0]["call_id"] == first
    assert [int(row["charge_microcredits"]) for row in rows] == [CHARGE] * 2
    assert {row["time"][:7] for row in rows} == {f"{month()[0]:%Y-%m}"}


def afternoon_by_commands(farebox: Installation, key: str) -> None:
    """A mistaken repeat, a suspension, a new key, and a hold that is ended by hand."""
    other = command_line.farebox(
        ["topup", "First customer", "26", "--key", "invoice-1", "--config", str(farebox.config)]
    )
    assert (other.returncode, "give this one a key of its own" in other.stderr) == (1, True)
    key_id = farebox.lines("key", "list", "First customer")[0]["id"]
    farebox.command("key", "update", key_id, "--requests-per-minute", "none")
    farebox.command("account", "suspend", "First customer")
    assert status(farebox, key) == 403
    farebox.command("account", "resume", "First customer")
    until(lambda: status(farebox, key) == 200)  # a refusal is remembered for a second
    new = farebox.command("key", "rotate", key_id)["key"]
    assert (status(farebox, key), status(farebox, new)) == (401, 200)
    reserve(farebox, new)
    (hold,) = farebox.lines("holds", "list", "--account", "First customer")
    farebox.command("holds", "release", "First customer", hold["call_id"], "--charge", "free", "--yes")
    assert farebox.lines("holds", "list", "--account", "First customer") == []


def afternoon_by_the_api(farebox: Installation, grace: AdminApi, account: str, key: str) -> None:
    """The same, after fifty repeats at once."""
    with ThreadPoolExecutor(50) as threads:
        body = {"credits": "1"}
        answers = list(
            threads.map(lambda _: grace.post("accounts", account, "topups", body=body, key="bulk"), range(50))
        )
    assert {(answer.status, answer.value["seq"]) for answer in answers} == {(201, 5)}
    assert grace.post("accounts", account, "topups", body={"credits": "2"}, key="bulk").code == "idempotency_conflict"
    key_id = grace.get("accounts", account, "keys").value["items"][0]["id"]
    assert grace.patch("keys", key_id, body={"limits": {"budget_month": "10"}}).status == 200
    assert grace.post("accounts", account, "suspend").status == 200
    assert status(farebox, key) == 403
    assert grace.post("accounts", account, "resume").status == 200
    until(lambda: status(farebox, key) == 200)
    new = grace.made("keys", key_id, "rotate", body={})["key"]
    assert (status(farebox, key), status(farebox, new)) == (401, 200)
    reserve(farebox, new)
    (hold,) = grace.get("holds", account=account).value["items"]
    released = grace.post("accounts", account, "holds", hold["call_id"], "release", body={"charge": "free"})
    assert (released.status, released.value["charge_microcredits"]) == (200, 0)
    assert grace.get("holds", account=account).value["items"] == []


def test_by_the_command_line_alone(farebox: Installation) -> None:
    assert farebox.command("admin", "create", "ada", "--role", "finance", "--role", "operate")["credential"]
    account = farebox.command("account", "create", "First customer")["id"]
    for _ in range(2):  # somebody was not sure whether it had worked
        farebox.command("topup", "First customer", "25", "--key", "invoice-1", "--reason", "invoice 1")
    limited = ("--requests-per-minute", "2", "--budget-month", "10", "--model", "test-model")
    key = farebox.command("key", "create", "First customer", "--name", "their app", *limited)["key"]
    farebox.command("account", "update", "First customer", "--low-balance", "5")

    first = customers_day(farebox, key)
    farebox.command("refund", first, "--credits", "0.004", "--key", "ticket-9", "--reason", "a bad answer")
    balance = farebox.command("balance", "First customer")
    assert balance["microcredits"] == BOUGHT - 2 * CHARGE + REFUND
    settled(farebox)
    assert sorted(entry["kind"] for entry in farebox.lines("ledger", "First customer")) == [
        "charge",
        "charge",
        "refund",
        "topup",
    ]
    since, end = month()
    words = [
        "export",
        "usage",
        "--account",
        "First customer",
        "--since",
        f"{since:%Y-%m-%d}",
        "--until",
        f"{end:%Y-%m-%d}",
    ]
    said = command_line.farebox([*words, "--config", str(farebox.config)])
    assert said.returncode == 0, said
    check_month(said.stdout, account, first)
    afternoon_by_commands(farebox, key)
    settled(farebox)
    farebox.audit()


def test_by_the_api_alone(farebox: Installation, api: AdminApi) -> None:
    made = api.made("administrators", body={"name": "grace", "roles": ["finance", "operate"]})
    grace = api.acting_as(made["credential"])
    account = grace.made("accounts", body={"name": "Second customer"}, key="account-1")["id"]
    for _ in range(2):
        grace.made("accounts", account, "topups", body={"credits": "25", "reason": "invoice 2"}, key="invoice-2")
    limits = {"requests_per_minute": 2, "budget_month": "10"}
    body = {"name": "their app", "limits": limits, "models": ["test-model"]}
    key = grace.made("accounts", account, "keys", body=body)["key"]
    assert grace.patch("accounts", account, body={"low_balance_credits": "5"}).status == 200

    first = customers_day(farebox, key)
    refund = {"call_id": first, "credits": "0.004", "reason": "a bad answer"}
    assert grace.made("accounts", account, "refunds", body=refund, key="ticket-10")["amount_microcredits"] == REFUND
    balance = grace.get("accounts", account, "balance").value
    assert balance["posted_microcredits"] == BOUGHT - 2 * CHARGE + REFUND
    settled(farebox)
    entries = grace.get("ledger-entries", account=account).value["items"]
    assert sorted(entry["kind"] for entry in entries) == ["charge", "charge", "refund", "topup"]
    since, end = (int(one.timestamp() * 1000) for one in month())
    exported = grace.get("exports", "usage.csv", account=account, from_at=since, to_at=end)
    assert exported.status == 200
    check_month(exported.value, account, first)
    actors = {row["actor"] for row in grace.get("audit-log", subject=account).value["items"]}
    assert actors == {"admin:grace"}
    afternoon_by_the_api(farebox, grace, account, key)
    settled(farebox)
    assert grace.post("audit", account=account).value["report"]["ok"] is True
