"""credits.dev's API as its users see it: shapes of its answers, a caller, and the usage that its document records."""

import re
from decimal import Decimal
from typing import Any

from tests.support.installation import Installation
from tests.support.surfaces import (
    MICRO,
    NULL,
    NUMBER,
    Answer,
    Holder,
    ask,
    same_shape,
)

PREFIXES = ("", "/compat/credits-dev")
USD = 1000 * MICRO  # microcredits
CREATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
RECORD = {
    "id": str,
    "context": str,
    "accountId": (str, NULL),
    "modelId": str,
    "inputTokens": int,
    "outputTokens": int,
    "estimatedCostUsd": NUMBER,
    "createdAt": str,
}
SUMMARY = {
    "totalCostUsd": NUMBER,
    "totalInputTokens": int,
    "totalOutputTokens": int,
    "byContext": {"customer": NUMBER, "system": NUMBER},
    "byModel": dict,
}
ACCOUNT = {
    "id": str,
    "developerId": str,
    "externalId": (str, NULL),
    "name": str,
    "email": (str, NULL),
    "balance": NUMBER,
    "metadata": dict,
    "createdAt": str,
    "updatedAt": str,
}
BALANCE = {"accountId": str, "externalId": (str, NULL), "balance": NUMBER, "reserved": NUMBER, "available": NUMBER}
TRANSACTION = {
    "id": str,
    "accountId": str,
    "type": str,
    "amount": NUMBER,
    "description": str,
    "balanceAfter": NUMBER,
    "metadata": dict,
    "createdAt": str,
}
RESERVATION = {"id": str, "accountId": str, "amount": NUMBER, "status": str, "expiresAt": str, "metadata": dict}
MODEL_SHAPE = {
    "modelId": str,
    "provider": str,
    "displayName": str,
    "modelType": str,
    "tier": (str, NULL),
    "pricing": {
        "text": {
            "inputPerMillion": NUMBER,
            "outputPerMillion": NUMBER,
            "cachedInputPerMillion": (*NUMBER, NULL),
        },
        "contextWindow": (int, NULL),
    },
}


class Dev:
    """One caller of the surface, under one of its prefixes."""

    def __init__(self, farebox: Installation, key: str, prefix: str = "") -> None:
        self.farebox, self.key, self.prefix = farebox, key, prefix

    def get(self, path: str, **query: Any) -> Answer:
        return ask(self.farebox, "GET", self.prefix + path, x_api_key=self.key, query=query)

    def post(self, path: str, idempotency_key: str = "", **body: Any) -> Answer:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return ask(self.farebox, "POST", self.prefix + path, x_api_key=self.key, body=body, headers=headers)


def refused(answer: Answer, status: int, code: str = "") -> dict[str, Any]:
    body = dict(answer.data(status))
    same_shape(body, {"success": bool, "error": str, "code": str})
    assert body["success"] is False
    assert body["error"]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", body["code"])
    assert not code or body["code"] == code
    return body


def audit(farebox: Installation, one: Holder) -> None:
    """Fails where the account's books do not agree; others have records of a past that no ledger knows."""
    farebox.command("audit", "--account", one.name)


def end_reservations(dev: Dev, one: Holder) -> None:
    """Cancels what is open, which would keep `settled` waiting."""
    for reservation in dev.get("/v1/reservations", accountId=one.id, activeOnly="true").data()["reservations"]:
        assert dev.post("/v1/reservations/cancel", reservationId=reservation["id"]).status == 200


def recorded(**more: Any) -> dict[str, Any]:
    """The body of the document's sample, with a model that this installation prices."""
    return {
        "transactionId": "txn_xyz789",
        "modelId": "cached-model",
        "usageType": "text",
        "inputTokens": 1500,
        "outputTokens": 500,
        "cachedTokens": 200,
        **more,
    }


COST = Decimal("0.0024")  # (1500 - 200) x $1 + 200 x $0.50 + 500 x $2, a million tokens each
CHARGE = 2_400_000
