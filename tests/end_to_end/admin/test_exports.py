"""Exports as CSV and JSON lines: everything once, in order, safe in a spreadsheet, and over when the client is gone."""

import csv
import http.client
import io
import json
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.admin_api import AdminApi
from tests.support.installation import ADMIN_TOKEN, Installation
from tests.support.processes import until
from tests.support.surfaces import call, remember, settled

HOSTILE = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\tx",
    "\rx",
    " =1",
    "\uff1d1",
    'say "hi", ok',
    "a\nb",
    "\u05e9\u05dc\u05d5\u05dd \u202e",
]
AT = 1_600_000_000_000


@pytest.fixture(scope="module")
def account(farebox: Installation, api: AdminApi) -> str:
    made = api.account("exported", credits="5")
    for number, text in enumerate(HOSTILE):
        tags = json.dumps({"note": text}, separators=(",", ":"))
        remember(farebox, made, model=text, at=AT + number // 2, charge_microcredits=number, tags=tags)
    return made


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_months_csv_is_safe_and_complete(api: AdminApi, account: str) -> None:
    answer = api.get("exports", "usage.csv", account=account, to_at=AT + 1_000)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="farebox-usage.csv"'
    assert answer.headers["x-request-id"]
    rows = table(answer.value)
    assert [row["charge_microcredits"] for row in rows] == [str(number) for number in range(len(HOSTILE))]
    for row, text in zip(rows, HOSTILE, strict=True):
        dangerous = text.lstrip().startswith(("=", "+", "-", "@", "\uff1d")) or text[0] in "\t\r"
        assert row["model"] == ("'" + text if dangerous else text)
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values())
        assert json.loads(row["tags"]) == {"note": text}
    assert rows[0]["time"] == "2020-09-13T12:26:40.000Z"


def test_json_lines_are_what_the_search_shows(api: AdminApi, account: str) -> None:
    answer = api.get("exports", "usage.jsonl", account=account)
    assert answer.headers["content-type"] == "application/jsonl; charset=utf-8"
    found = lines(answer.value)
    assert found == api.get("usage", account=account).value["items"][::-1]
    one = lines(api.get("exports", "usage.jsonl", account=account, model="=1+1").value)
    assert [row["model"] for row in one] == ["=1+1"]
    assert lines(api.get("exports", "usage.jsonl", call_id=found[3]["call_id"]).value) == [found[3]]
    assert api.get("exports", "usage.jsonl", account=account, from_at=1, to_at=2).value == ""


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.split("\n") if line]


def test_ledger_entries_have_numbers_that_stay_numbers(farebox: Installation, api: AdminApi, account: str) -> None:
    key = api.made("accounts", account, "keys", body={})["key"]
    call(farebox, key)
    api.made("accounts", account, "adjustments", body={"credits": "-0.5", "reason": "@echo"}, key="=key")
    settled(farebox)
    rows = table(api.get("exports", "ledger-entries.csv", account=account).value)
    assert [(row["seq"], row["kind"]) for row in rows] == [("1", "topup"), ("2", "charge"), ("3", "adjustment")]
    assert (rows[2]["credits"], rows[2]["amount_microcredits"]) == ("-0.5", "-500000")
    assert (rows[2]["reason"], rows[2]["idempotency_key"]) == ("'@echo", "'=key")
    shown = lines(api.get("exports", "ledger-entries.jsonl", account=account, kind="adjustment").value)
    assert shown == api.get("ledger-entries", account=account, kind="adjustment").value["items"]


def test_an_export_of_nothing_has_its_heading(api: AdminApi, account: str) -> None:
    text = api.get("exports", "usage.csv", account=account, from_at=1, to_at=2).value
    assert text.startswith('"call_id","time","at","account_id"')
    assert text.count("\r\n") == 1
    assert api.get("exports", "usage.csv", account="nobody").code == "account_not_found"
    assert api.acting_as(None).get("exports", "usage.csv").status == 401


def test_a_large_export_is_whole_and_one_that_nobody_reads_ends(farebox: Installation, api: AdminApi) -> None:
    account = api.account("large")
    first = remember(farebox, account, at=AT, tags=json.dumps({"fill": "x" * 4_000}))
    copy_many(farebox, first, 6_000)
    found = lines(api.get("exports", "usage.jsonl", account=account).value)
    assert len({row["call_id"] for row in found}) == len(found) == 6_001
    assert [row["at"] for row in found] == sorted(row["at"] for row in found)
    before = memory_kb(farebox)
    address = urlsplit(farebox.admin_url)
    with socket.create_connection((address.hostname or "", address.port or 0)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        request = f"GET /admin/v1/exports/usage.jsonl?account={account} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN_TOKEN}\r\n\r\n"
        client.sendall(request.encode())
        assert client.recv(15) == b"HTTP/1.1 200 OK"
        time.sleep(0.5)
        assert memory_kb(farebox) - before < 40_000  # the whole of it is some 27 MB of JSON, and more as rows
        assert api.get("accounts", account).status == 200  # meanwhile others are served
    until(lambda: "the client left its export" in farebox.log.read_text(), 10)


def copy_many(farebox: Installation, call_id: str, count: int) -> None:
    """As many more records like this one, a millisecond apart."""
    with closing(sqlite3.connect(farebox.directory / "state" / "farebox.db", timeout=10)) as database, database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(usage_records)")]
        shown = [
            "printf('%s-%05d', call_id, n)" if one == "call_id" else "at + n" if one == "at" else one for one in columns
        ]
        database.execute(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?) "
            f"INSERT INTO usage_records ({', '.join(columns)}) SELECT {', '.join(shown)} FROM usage_records, numbers "
            "WHERE call_id = ?",
            [count, call_id],
        )


def memory_kb(farebox: Installation) -> int:
    """What the operators' process holds."""
    (pid,) = farebox.pids("operator")
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def test_an_export_over_http_is_chunked(farebox: Installation, account: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(farebox.admin_url).netloc, timeout=10)
    connection.request("GET", f"/admin/v1/exports/usage.csv?account={account}", headers={"x-api-key": ADMIN_TOKEN})
    answer = connection.getresponse()
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.read().endswith(b"\r\n")
    connection.close()
