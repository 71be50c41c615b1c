"""Whatever is asked of the gateways' surfaces: an answer that is described, never an error of the server's own."""

import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.installation import ADMIN_TOKEN, Installation
from tests.support.schemas import conforms
from tests.support.surfaces import HOSTILE_TEXTS, another_key, ask, holder

PART = yaml.safe_load(
    (Path(__file__).parents[3] / "proxy/admin/openapi_parts/gateways.yaml").read_text(encoding="utf-8")
)
REQUESTS = 600
VALUES: tuple[Any, ...] = (
    *HOSTILE_TEXTS,
    *(
        "0",
        "1",
        "2",
        "7",
        "31",
        "60",
        "1000",
        "1735689600",
        "1763800000",
        "100000000000",
        "-1",
        "9" * 40,
        "1.0",
        "",
        " ",
    ),
    *("1m", "1h", "1d", "day", "model", "api_key_id,model", "project_id", "line_item", "batch", "true", "false"),
)


@pytest.mark.parametrize("seed", range(3))
def test_every_answer_is_described(farebox: Installation, seed: int) -> None:
    chance = random.Random(seed)
    owner = holder(farebox)
    keys = [owner.key, another_key(farebox, owner, kind="manager")[1], ADMIN_TOKEN, "nonsense", ""]
    for _ in range(REQUESTS // 3):
        path, item = chance.choice(list(PART["paths"].items()))
        described = item["get"]
        names = [parameter["name"] for parameter in described.get("parameters", ())]
        names += ["group_by[]", "key", "\0", "page"]
        query = [(chance.choice(names), chance.choice(VALUES)) for _ in range(chance.randrange(6))]
        if "start_time" in names and chance.random() < 0.7:
            query = [("start_time", chance.choice(["1735689600", "1763800000"])), *query]
        answer = ask(farebox, "GET", path, bearer=chance.choice(keys), query=query)
        where = f"{path} {query}"
        assert str(answer.status) in described["responses"], f"{answer.status} {where}"
        assert answer.status < 500, where
        content = described["responses"][str(answer.status)]["content"]["application/json"]
        conforms(answer.json, content["schema"], PART["components"]["schemas"], where)
