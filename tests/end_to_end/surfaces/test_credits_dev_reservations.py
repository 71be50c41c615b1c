"""credits.dev's reservations and models, and whose answer comes on the paths that it shares with others."""

import time
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.support.credits_dev import (
    COST,
    MODEL_SHAPE,
    PREFIXES,
    RESERVATION,
    Dev,
    audit,
    end_reservations,
    refused,
)
from tests.support.installation import MODEL, Installation
from tests.support.surfaces import (
    HOSTILE_TEXTS,
    MICRO,
    NUMBER,
    Holder,
    ask,
    holder,
    same_shape,
)


@pytest.fixture(scope="module")
def user(farebox: Installation) -> Holder:
    return holder(farebox)


# Reservations.


@pytest.mark.parametrize("prefix", PREFIXES)
def test_reservations_are_holds(farebox: Installation, prefix: str) -> None:
    one = holder(farebox, 10 * MICRO)
    dev = Dev(farebox, one.key, prefix)
    before = time.time()
    body = {"accountId": one.id, "amount": 4, "operation": "render", "model": MODEL}
    made = dev.post("/v1/reservations/create", **body).data()
    same_shape(made, {"success": bool, "reservation": RESERVATION})
    reservation = made["reservation"]
    assert (reservation["status"], reservation["amount"]) == ("pending", 4)
    expires = datetime.fromisoformat(reservation["expiresAt"]).timestamp()
    assert 290 <= expires - before <= 310
    numbers = dev.get("/v1/accounts/balance").data()
    assert (numbers["balance"], numbers["reserved"], numbers["available"]) == (10, 4, 6)
    assert farebox.balance(one.name)["held"] == 4 * MICRO
    refused(dev.post("/v1/reservations/create", accountId=one.id, amount=6.5), 402, "insufficient_credits")
    listed = dev.get("/v1/reservations", accountId=one.id, activeOnly="true").data()
    assert [row["id"] for row in listed["reservations"]] == [reservation["id"]]
    assert dev.post("/v1/reservations/confirm", reservationId=reservation["id"], actualAmount=2.5).status == 200
    numbers = dev.get("/v1/accounts/balance").data()
    assert (numbers["balance"], numbers["reserved"], numbers["available"]) == (Decimal("7.5"), 0, Decimal("7.5"))
    assert dev.get("/v1/reservations", accountId=one.id, activeOnly="true").data()["reservations"] == []
    again = dev.post("/v1/reservations/confirm", reservationId=reservation["id"], actualAmount=2.5)
    assert again.status in {200, 409}
    assert dev.post("/v1/reservations/cancel", reservationId=reservation["id"]).status == 409
    assert farebox.balance(one.name)["microcredits"] == 7_500_000
    audit(farebox, one)


def test_a_cancelled_reservation_costs_nothing(farebox: Installation) -> None:
    one = holder(farebox, 10 * MICRO)
    dev = Dev(farebox, one.key)
    made = dev.post("/v1/reservations/create", accountId=one.id, amount=4).data()["reservation"]
    assert dev.post("/v1/reservations/cancel", reservationId=made["id"]).status == 200
    numbers = dev.get("/v1/accounts/balance").data()
    assert (numbers["balance"], numbers["reserved"]) == (10, 0)
    refused(dev.post("/v1/reservations/confirm", reservationId=made["id"], actualAmount=1), 409)
    statuses = [row["status"] for row in dev.get("/v1/reservations", activeOnly="false").data()["reservations"]]
    assert statuses == ["cancelled"]


def test_another_accounts_reservation_is_not_there(farebox: Installation) -> None:
    one, other = holder(farebox), holder(farebox)
    made = Dev(farebox, one.key).post("/v1/reservations/create", accountId=one.id, amount=4).data()["reservation"]
    stranger = Dev(farebox, other.key)
    refused(stranger.post("/v1/reservations/confirm", reservationId=made["id"], actualAmount=1), 404)
    refused(stranger.post("/v1/reservations/cancel", reservationId=made["id"]), 404)
    refused(stranger.post("/v1/reservations/cancel", reservationId="res_nobody"), 404)
    refused(stranger.post("/v1/reservations/create", accountId=one.id, amount=1), 404)
    for text in HOSTILE_TEXTS:
        assert stranger.post("/v1/reservations/cancel", reservationId=text).status in {400, 404}
    assert farebox.balance(one.name)["held"] == 4 * MICRO
    refused(Dev(farebox, one.key).post("/v1/reservations/confirm", reservationId=made["id"], actualAmount=-1), 400)
    end_reservations(Dev(farebox, one.key), one)


# Models, and who answers on the shared paths.


def test_models_with_their_prices(farebox: Installation) -> None:
    one = holder(farebox)
    dev = Dev(farebox, one.key)
    answer = dev.get("/v1/models").data()
    same_shape(answer, {"success": bool, "models": [MODEL_SHAPE]})
    models = {model["modelId"]: model for model in answer["models"]}
    assert {MODEL, "cached-model"} <= set(models)
    prices = models["cached-model"]["pricing"]["text"]
    assert prices == {"inputPerMillion": 1, "outputPerMillion": 2, "cachedInputPerMillion": Decimal("0.5")}
    assert models["cached-model"]["provider"] == "other"
    only = dev.get("/v1/models", provider="other").data()["models"]
    assert [model["modelId"] for model in only] == ["cached-model"]
    assert dev.get("/v1/models", provider="' OR 1=1").data()["models"] == []
    assert dev.get("/v1/models", tier="no such tier").data()["models"] == []


def test_a_calculation_costs_nothing(farebox: Installation) -> None:
    one = holder(farebox)
    dev = Dev(farebox, one.key)
    asked = {"modelId": "cached-model", "inputTokens": 1500, "outputTokens": 500}
    answer = dev.post("/v1/models/calculate", cachedTokens=200, **asked).data()
    shape = {"success": bool, "modelId": str, "modelName": str, "estimatedCostUsd": NUMBER, "pricing": dict}
    same_shape(answer, shape)
    assert (answer["modelId"], answer["estimatedCostUsd"]) == ("cached-model", COST)
    assert dev.post("/v1/models/calculate", **asked).data()["estimatedCostUsd"] == Decimal("0.0025")
    assert dev.post("/v1/models/calculate", **{**asked, "modelId": "nope"}).status in {402, 404}
    refused(dev.post("/v1/models/calculate", **{**asked, "inputTokens": -1}), 400)
    assert farebox.balance(one.name)["microcredits"] == 100 * MICRO


def is_openai(body: Any) -> bool:
    return body.get("object") == "list" and isinstance(body.get("data"), list)


def is_anthropic(body: Any) -> bool:
    return "has_more" in body and body["data"][0]["type"] == "model"


def is_credits_dev(body: Any) -> bool:
    return body.get("success") is True and isinstance(body.get("models"), list)


@pytest.mark.parametrize(
    ("credential", "headers", "query", "expected"),
    [
        ("bearer", {}, {}, is_openai),
        ("bearer", {"anthropic-version": "2023-06-01"}, {}, is_anthropic),
        ("x_api_key", {"anthropic-version": "2023-06-01"}, {}, is_anthropic),
        ("x_api_key", {}, {}, is_credits_dev),
        ("bearer", {}, {"provider": "local"}, is_credits_dev),
        ("bearer", {}, {"tier": ""}, is_credits_dev),
        ("bearer", {}, {"modelId": MODEL}, is_credits_dev),
        ("bearer", {}, {"limit": "10"}, is_openai),
        ("x_api_key", {"anthropic-version": "2023-06-01"}, {"provider": "local"}, is_anthropic),
    ],
)
def test_whose_list_of_models(  # noqa: PLR0917 - fixtures and the columns of the table above
    farebox: Installation,
    user: Holder,
    credential: str,
    headers: dict[str, str],
    query: dict[str, str],
    expected: Callable[[Any], bool],
) -> None:
    credentials = {credential: user.key}
    assert expected(ask(farebox, "GET", "/v1/models", headers=headers, query=query, **credentials).data())  # type: ignore[arg-type]


def test_one_model_is_still_openais_and_anthropics(farebox: Installation, user: Holder) -> None:
    assert ask(farebox, "GET", f"/v1/models/{MODEL}", bearer=user.key).data()["object"] == "model"
    version = {"anthropic-version": "2023-06-01"}
    assert ask(farebox, "GET", f"/v1/models/{MODEL}", x_api_key=user.key, headers=version).data()["type"] == "model"
    listed = ask(farebox, "GET", "/compat/credits-dev/v1/models", bearer=user.key)
    assert listed.status in {200, 401}


def test_whose_usage(farebox: Installation, user: Holder) -> None:
    assert ask(farebox, "GET", "/v1/usage", x_api_key=user.key).data()["success"] is True
    assert ask(farebox, "GET", "/v1/usage", bearer=user.key).data()["isValid"] is True
    assert ask(farebox, "GET", "/compat/credits-dev/v1/usage", x_api_key=user.key).data()["success"] is True


def test_other_methods_and_bodies(farebox: Installation, user: Holder) -> None:
    assert ask(farebox, "POST", "/v1/accounts/balance", x_api_key=user.key, body={}).status in {404, 405}
    assert ask(farebox, "GET", "/v1/usage/record", x_api_key=user.key).status in {404, 405}
    refused(ask(farebox, "GET", "/compat/credits-dev/v1/nothing", x_api_key=user.key), 404)
    for body in (b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"accountId": 1, "accountId": 2}'):
        refused(ask(farebox, "POST", "/v1/usage/record", x_api_key=user.key, body=body), 400)
