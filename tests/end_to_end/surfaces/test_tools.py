"""What tools ask a gateway: OpenRouter's, LiteLLM's, new-api's, DeepSeek's and sub2api's balance and usage calls."""

import re
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.installation import MODEL, Installation, charge_of
from tests.support.mock_provider import INPUT_TOKENS
from tests.support.schemas import conforms
from tests.support.surfaces import (
    HOSTILE_TEXTS,
    MICRO,
    NULL,
    NUMBER,
    Holder,
    another_key,
    ask,
    call,
    decimal,
    holder,
    remember,
    same_shape,
    settled,
)

USD = 1000 * MICRO  # microcredits
SPENT = charge_of((INPUT_TOKENS, 5))
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
DAY_MS = 86_400_000
MONEY = (*NUMBER, NULL)
KEY = {
    "data": {
        "label": str,
        "limit": MONEY,
        "limit_remaining": MONEY,
        "limit_reset": (str, NULL),
        "usage": NUMBER,
        "usage_daily": NUMBER,
        "usage_weekly": NUMBER,
        "usage_monthly": NUMBER,
        "is_free_tier": bool,
        "expires_at": (str, NULL),
        "include_byok_in_limit": bool,
        "is_management_key": bool,
        "is_provisioning_key": bool,
        "creator_user_id": (str, NULL),
        "byok_usage": NUMBER,
        "byok_usage_daily": NUMBER,
        "byok_usage_weekly": NUMBER,
        "byok_usage_monthly": NUMBER,
        "rate_limit": {"requests": int, "interval": str, "note": str},
    }
}
GENERATION = {
    "id": str,
    "upstream_id": NULL,
    "total_cost": NUMBER,
    "usage": NUMBER,
    "cache_discount": NULL,
    "upstream_inference_cost": NULL,
    "created_at": str,
    "model": str,
    "app_id": NULL,
    "streamed": bool,
    "cancelled": bool,
    "provider_name": str,
    "latency": (int, NULL),
    "moderation_latency": NULL,
    "generation_time": (int, NULL),
    "finish_reason": NULL,
    "native_finish_reason": NULL,
    "origin": str,
    "tokens_prompt": int,
    "tokens_completion": int,
    "native_tokens_prompt": int,
    "native_tokens_completion": int,
    "native_tokens_reasoning": int,
    "native_tokens_cached": int,
    "native_tokens_completion_images": int,
    "num_media_prompt": NULL,
    "num_media_completion": NULL,
    "num_input_audio_prompt": NULL,
    "num_search_results": NULL,
    "is_byok": bool,
    "external_user": NULL,
    "api_type": str,
    "router": NULL,
}
KEY_INFO = {
    "key": str,
    "info": {
        "key_name": str,
        "key_alias": (str, NULL),
        "spend": NUMBER,
        "max_budget": MONEY,
        "expires": (str, NULL),
        "user_id": str,
        "team_id": (str, NULL),
        "models": [str],
    },
}
TOKEN_USAGE = {
    "code": bool,
    "message": str,
    "data": {
        "object": str,
        "name": str,
        "total_granted": int,
        "total_used": int,
        "total_available": int,
        "unlimited_quota": bool,
        "model_limits": dict,
        "model_limits_enabled": bool,
        "expires_at": int,
    },
}
DEEPSEEK = {
    "is_available": bool,
    "balance_infos": [{"currency": str, "total_balance": str, "granted_balance": str, "topped_up_balance": str}],
}
PATHS = (
    *("/api/v1/credits", "/v1/credits", "/api/v1/key", "/v1/key", "/api/v1/auth/key", "/api/v1/generation?id=x"),
    *("/key/info", "/api/usage/token", "/user/balance", "/v1/usage"),
)


@pytest.fixture(scope="module")
def one(farebox: Installation) -> Holder:
    """An account with $20 that made one call."""
    made = holder(farebox, 20 * USD)
    call(farebox, made.key)
    settled(farebox)
    return made


@pytest.mark.parametrize("path", PATHS)
def test_who_has_no_valid_key(farebox: Installation, one: Holder, path: str) -> None:
    manager = another_key(farebox, one, kind="manager")[1]
    for key in ("", "nonsense", "sk-fb-" + "A" * 43):
        assert ask(farebox, "GET", path, bearer=key).status == 401
        assert ask(farebox, "GET", path, bearer=key).json
    assert ask(farebox, "GET", path, bearer=manager).status in {401, 403}
    assert ask(farebox, "GET", path, bearer=one.key, x_api_key=one.key).status == 401
    sign = "&" if "?" in path else "?"
    assert ask(farebox, "GET", f"{path}{sign}key={one.key}").status == 401
    assert ask(farebox, "POST", path, bearer=one.key, body={}).status in {404, 405}
    suspended = holder(farebox)
    farebox.command("account", "suspend", suspended.name)
    assert ask(farebox, "GET", path, bearer=suspended.key).status == 403


# OpenRouter.


@pytest.mark.parametrize("path", ["/api/v1/credits", "/v1/credits"])
def test_openrouter_credits(farebox: Installation, one: Holder, path: str) -> None:
    body = ask(farebox, "GET", path, bearer=one.key).data()
    assert body == {"data": {"total_credits": 20, "total_usage": decimal(SPENT, USD)}}
    error = ask(farebox, "GET", path).data(401)
    same_shape(error, {"error": {"code": int, "message": str}})
    assert error["error"]["code"] == 401


@pytest.mark.parametrize("path", ["/api/v1/key", "/v1/key", "/api/v1/auth/key"])
def test_openrouter_key_without_limits(farebox: Installation, one: Holder, path: str) -> None:
    body = ask(farebox, "GET", path, bearer=one.key).data()
    same_shape(body, KEY)
    data = body["data"]
    assert one.key not in str(body)
    assert one.key.startswith(data["label"].split(".")[0])
    assert (data["limit"], data["limit_remaining"], data["limit_reset"], data["expires_at"]) == (None,) * 4
    spent = decimal(SPENT, USD)
    assert [data[name] for name in ("usage", "usage_daily", "usage_weekly", "usage_monthly")] == [spent] * 4
    assert data["is_free_tier"] is False


def test_openrouter_key_with_a_budget(farebox: Installation) -> None:
    owner = holder(farebox)
    key = another_key(farebox, owner, limits={"budget_total": "2.5", "requests_per_minute": 60}, name="ci")[1]
    call(farebox, key)
    settled(farebox)
    data = ask(farebox, "GET", "/api/v1/key", bearer=key).data()["data"]
    assert (data["limit"], data["limit_reset"]) == (decimal(2_500_000, USD), None)
    assert data["limit_remaining"] == decimal(2_500_000 - SPENT, USD)
    assert (data["rate_limit"]["requests"], data["rate_limit"]["interval"]) == (60, "1m")
    other = ask(farebox, "GET", "/api/v1/key", bearer=owner.key).data()["data"]
    assert other["usage"] == 0  # of this key alone
    for kind, reset in (("budget_day", "daily"), ("budget_week", "weekly"), ("budget_month", "monthly")):
        key = another_key(farebox, owner, limits={kind: "0.01"})[1]
        data = ask(farebox, "GET", "/api/v1/key", bearer=key).data()["data"]
        assert (data["limit"], data["limit_remaining"], data["limit_reset"]) == (*(decimal(10_000, USD),) * 2, reset)


def test_openrouter_key_by_period(farebox: Installation) -> None:
    owner = holder(farebox)
    key_id, key = another_key(farebox, owner, expires_at=int(time.time() * 1000) + 60_000)
    now = int(time.time() * 1000)
    for days, charge in ((0, 1), (40, 10), (400, 100)):
        remember(farebox, owner.id, key_id, at=now - days * DAY_MS, charge_microcredits=charge)
    data = ask(farebox, "GET", "/api/v1/key", bearer=key).data()["data"]
    periods = [data[name] for name in ("usage", "usage_daily", "usage_weekly", "usage_monthly")]
    assert periods == [decimal(amount, USD) for amount in (111, 1, 1, 1)]
    assert ISO.fullmatch(data["expires_at"])


def test_openrouter_generation(farebox: Installation, one: Holder) -> None:
    call_id = call(farebox, one.key, 3, stream=False)
    settled(farebox)
    data = ask(farebox, "GET", "/api/v1/generation", bearer=one.key, query={"id": call_id}).data()["data"]
    same_shape(data, GENERATION)
    assert (data["id"], data["model"], data["provider_name"]) == (call_id, MODEL, "local")
    assert data["total_cost"] == data["usage"] == decimal(charge_of((INPUT_TOKENS, 3)), USD)
    assert (data["tokens_prompt"], data["tokens_completion"]) == (INPUT_TOKENS, 3)
    assert (data["native_tokens_prompt"], data["native_tokens_completion"]) == (INPUT_TOKENS, 3)
    assert (data["streamed"], data["cancelled"], data["is_byok"]) == (False, False, False)
    assert ISO.fullmatch(data["created_at"])
    assert ask(farebox, "GET", "/v1/generation", bearer=one.key, query={"id": call_id}).data()["data"] == data


def test_openrouter_generation_of_nobody_or_another(farebox: Installation, one: Holder) -> None:
    call_id = call(farebox, one.key)
    settled(farebox)
    stranger = holder(farebox)
    for key, wanted in ((stranger.key, call_id), (one.key, "gen-123"), (one.key, call_id[:-1] + "_")):
        error = ask(farebox, "GET", "/api/v1/generation", bearer=key, query={"id": wanted}).data(404)
        assert error["error"]["code"] == 404
    assert ask(farebox, "GET", "/api/v1/generation", bearer=one.key).data(400)["error"]["code"] == 400
    for text in HOSTILE_TEXTS:
        answer = ask(farebox, "GET", "/api/v1/generation", bearer=one.key, query={"id": text})
        assert answer.status in {400, 404}, text


# LiteLLM.


def test_litellm_key_info(farebox: Installation) -> None:
    owner = holder(farebox)
    ends = int(time.time() * 1000) + 60_000
    settings = {"name": "laptop", "models": (MODEL,), "limits": {"budget_total": "2.5"}, "expires_at": ends}
    key = another_key(farebox, owner, **settings)[1]
    call(farebox, key)
    settled(farebox)
    body = ask(farebox, "GET", "/key/info", bearer=key).data()
    same_shape(body, KEY_INFO)
    assert key not in str(body)
    info = body["info"]
    assert (info["key_alias"], info["models"], info["user_id"]) == ("laptop", [MODEL], owner.id)
    assert (info["spend"], info["max_budget"]) == (decimal(SPENT, USD), decimal(2_500_000, USD))
    assert ISO.fullmatch(info["expires"])
    plain = ask(farebox, "GET", "/key/info", bearer=owner.key).data()["info"]
    assert (plain["key_alias"], plain["models"], plain["max_budget"], plain["expires"]) == (None, [], None, None)
    assert plain["spend"] == 0


def test_litellm_shows_only_the_callers_own_key(farebox: Installation) -> None:
    owner, stranger = holder(farebox), holder(farebox)
    own = ask(farebox, "GET", "/key/info", bearer=owner.key)
    assert ask(farebox, "GET", "/key/info", bearer=owner.key, query={"key": owner.key}).text == own.text
    assert ask(farebox, "GET", "/key/info", bearer=owner.key, query={"key": own.json["key"]}).text == own.text
    for other in (stranger.key, another_key(farebox, stranger)[0], *HOSTILE_TEXTS):
        answer = ask(farebox, "GET", "/key/info", bearer=owner.key, query={"key": other})
        same_shape(answer.data(404), {"error": {"message": str, "type": str, "param": (str, NULL), "code": str}})
    assert owner.key not in farebox.log.read_text()


# new-api.


def test_new_api_token_usage(farebox: Installation, one: Holder) -> None:
    body = ask(farebox, "GET", "/api/usage/token", bearer=one.key).data()
    same_shape(body, TOKEN_USAGE)
    assert (body["code"], body["message"], body["data"]["object"]) == (True, "ok", "token_usage")
    data = body["data"]
    assert data["total_granted"] == data["total_used"] + data["total_available"]
    # new-api's unit: 500,000 quota a dollar, whole; what is there is rounded down.
    balance = farebox.balance(one.name)["microcredits"]
    assert data["total_available"] == balance * 500_000 // USD
    assert (data["unlimited_quota"], data["model_limits"], data["model_limits_enabled"]) == (False, {}, False)
    assert data["expires_at"] == 0
    ends = int(time.time()) + 60
    key = another_key(farebox, one, name="named", models=(MODEL, "gpt-*"), expires_at=ends * 1000)[1]
    data = ask(farebox, "GET", "/api/usage/token/", bearer=key).data()["data"]
    assert (data["name"], data["model_limits_enabled"], data["expires_at"]) == ("named", True, ends)
    assert data["model_limits"] == {MODEL: True, "gpt-*": True}
    error = ask(farebox, "GET", "/api/usage/token", bearer="nonsense").data(401)
    same_shape(error, {"success": bool, "message": str})
    assert error["success"] is False


# DeepSeek.


@pytest.mark.parametrize(
    ("microcredits", "total"),
    [
        (110 * USD, "110.00"),
        (0, "0.00"),
        (USD // 2, "0.50"),
        (1, "0.000000001"),
        (9_007_199_254_740_991, "9007199.254740991"),
    ],
)
def test_deepseek_balance(farebox: Installation, microcredits: int, total: str) -> None:
    owner = holder(farebox, microcredits)
    body = ask(farebox, "GET", "/user/balance", bearer=owner.key).data()
    same_shape(body, DEEPSEEK)
    assert body == {
        "is_available": microcredits > 0,
        "balance_infos": [
            {
                "currency": "USD",
                "total_balance": total,
                "granted_balance": "0.00",
                "topped_up_balance": total,
            }
        ],
    }


def test_deepseek_errors_are_openais(farebox: Installation) -> None:
    error = ask(farebox, "GET", "/user/balance", bearer="nonsense").data(401)
    same_shape(error, {"error": {"message": str, "type": str, "param": (str, NULL), "code": (str, NULL)}})


# sub2api.


def test_sub2api_usage(farebox: Installation, one: Holder) -> None:
    body = ask(farebox, "GET", "/v1/usage", bearer=one.key).data()
    balance = decimal(farebox.balance(one.name)["microcredits"], USD)
    assert {name: body[name] for name in ("isValid", "remaining", "unit")} == {
        "isValid": True,
        "remaining": balance,
        "unit": "USD",
    }
    assert isinstance(body["planName"], str)
    assert body["planName"]
    error = ask(farebox, "GET", "/v1/usage", bearer="nonsense").data(401)
    assert error["isValid"] is False
    assert error["error"]["message"]


def test_money_is_exact_on_all_of_them(farebox: Installation) -> None:
    owner = holder(farebox, 9_007_199_254_740_991)
    call(farebox, owner.key)
    settled(farebox)
    left = Decimal(9_007_199_254_740_991 - SPENT) / USD

    def get(path: str) -> Any:
        return ask(farebox, "GET", path, bearer=owner.key).data()

    credits_ = get("/api/v1/credits")["data"]
    assert credits_["total_credits"] - credits_["total_usage"] == left
    assert get("/v1/usage")["remaining"] == left
    assert Decimal(get("/user/balance")["balance_infos"][0]["total_balance"]) == left
    limit = get("/dashboard/billing/subscription")["hard_limit_usd"]
    assert limit - get("/dashboard/billing/usage")["total_usage"] / 100 == left


# What openapi.yaml says of all of them.

PART = yaml.safe_load(
    (Path(__file__).parents[3] / "proxy/admin/openapi_parts/gateways.yaml").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("path", list(PART["paths"]))
def test_answers_are_as_they_are_described(farebox: Installation, one: Holder, managers: str, path: str) -> None:
    described = PART["paths"][path]["get"]
    securities = {name for kinds in described["security"] for name in kinds}
    key = managers if "manager_key" in securities else one.key
    today = int(time.time()) // 86_400 * 86_400
    values = {"start_time": today - 86_400, "end_time": today + 86_400, "id": call(farebox, one.key)}
    names = [parameter["name"] for parameter in described.get("parameters", ())]
    settled(farebox)
    query = {name: value for name, value in values.items() if name in names}
    for asked, sent in ((key, query), ("nonsense", query), (key, {})):
        answer = ask(farebox, "GET", path, bearer=asked, query=sent)
        schema = described["responses"][str(answer.status)]["content"]["application/json"]["schema"]
        conforms(answer.json, schema, PART["components"]["schemas"])


@pytest.fixture(scope="module")
def managers(farebox: Installation) -> str:
    return another_key(farebox, holder(farebox), kind="manager")[1]
