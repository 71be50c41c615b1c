"""The simulated model through `farebox dev` in all its dialects, as each family's SDK calls it: metered to what it says."""

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.support.farebox import Dev, command_json, command_lines
from tests.support.processes import until

ASKED = "Tell me about the sea and its ships."
HELLO: Any = [{"role": "user", "content": ASKED}]


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with Dev(tmp_path_factory.mktemp("dialects")) as farebox:
        yield farebox.ready()


@pytest.fixture(scope="module")
def chat(dev: Dev) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=dev.report["base_url"], api_key=dev.report["api_key"], max_retries=0) as client:
        yield client


def origin(dev: Dev) -> str:
    return dev.report["base_url"].removesuffix("/v1")


def records(dev: Dev, limit: int) -> list[dict[str, Any]]:
    return list(command_lines(dev.folder, "usage", "demo", "--limit", str(limit)))


def recorded(dev: Dev, dialect: str, used: tuple[int, int], *, stream: bool = False) -> None:
    """The newest record has what the answer said, and credits have moved."""

    def is_there() -> bool:
        newest = records(dev, 1)
        return bool(newest) and (newest[0]["input_tokens"], newest[0]["output_tokens"]) == used

    until(is_there, 20)
    record = records(dev, 1)[0]
    assert (record["dialect"], record["stream"], record["provider"]) == (dialect, stream, "sim")
    assert (record["settlement_basis"], record["outcome"]) == ("reported", "completed")
    assert record["charge_microcredits"] > 0


def test_responses(dev: Dev, chat: openai.OpenAI) -> None:
    plain = chat.responses.create(model="sim", input=ASKED, max_output_tokens=21)
    assert plain.usage is not None
    recorded(dev, "openai", (plain.usage.input_tokens, 21))
    events: list[Any] = list(
        chat.responses.create(model="sim", input=ASKED + " Again.", max_output_tokens=22, stream=True)
    )
    assert events[-1].type == "response.incomplete"
    recorded(dev, "openai", (events[-1].response.usage.input_tokens, 22), stream=True)
    assert chat.responses.input_tokens.count(model="sim", input=ASKED).input_tokens == plain.usage.input_tokens


def test_a_response_in_the_background_is_charged_once(dev: Dev, chat: openai.OpenAI) -> None:
    before = command_json(dev.folder, "balance", "demo")["microcredits"]
    queued = chat.responses.create(model="sim", input=ASKED, background=True, max_output_tokens=23)
    assert queued.status == "queued"
    done = queued

    def finished() -> bool:
        nonlocal done
        done = chat.responses.retrieve(queued.id)
        return done.status != "queued"

    until(finished, 20)
    chat.responses.retrieve(queued.id)
    assert done.usage is not None
    assert done.usage.output_tokens == 23
    until(lambda: command_json(dev.folder, "balance", "demo")["microcredits"] < before, 20)
    charged = before - command_json(dev.folder, "balance", "demo")["microcredits"]
    # A thousandth of a credit is what a dollar per million is; input 0.40, output 1.60.
    assert charged == pytest.approx(done.usage.input_tokens * 400 + 23 * 1600, abs=1000)


def test_completions_and_embeddings(dev: Dev, chat: openai.OpenAI) -> None:
    written = chat.completions.create(model="sim", prompt=ASKED, max_tokens=24)
    assert written.usage is not None
    recorded(dev, "openai", (written.usage.prompt_tokens, 24))
    made = chat.embeddings.create(model="sim", input=[ASKED, ASKED + " Twice."])
    assert len(made.data[0].embedding) == 256
    recorded(dev, "openai", (made.usage.prompt_tokens, 0))


def test_messages(dev: Dev) -> None:
    with anthropic.Anthropic(base_url=origin(dev), api_key=dev.report["api_key"], max_retries=0) as claude:
        answer = claude.messages.create(model="sim", max_tokens=25, messages=HELLO)
        recorded(dev, "anthropic", (answer.usage.input_tokens, 25))
        assert claude.messages.count_tokens(model="sim", messages=HELLO).input_tokens == answer.usage.input_tokens


def test_gemini(dev: Dev) -> None:
    genai = pytest.importorskip("google.genai", reason="the google-genai SDK is not installed")
    client = genai.Client(api_key=dev.report["api_key"], http_options={"base_url": origin(dev)})
    config = {"max_output_tokens": 26}
    answer = client.models.generate_content(model="sim", contents=ASKED, config=config)
    used = (answer.usage_metadata.prompt_token_count, 26)
    recorded(dev, "gemini", used)
    chunks = list(client.models.generate_content_stream(model="sim", contents=ASKED + " Again.", config=config))
    recorded(dev, "gemini", (chunks[-1].usage_metadata.prompt_token_count, 26), stream=True)
    assert client.models.count_tokens(model="sim", contents=ASKED).total_tokens == used[0]
    assert client.models.embed_content(model="sim", contents=ASKED).embeddings
    client.close()


def test_usage_that_is_not_told_is_counted_in_every_dialect(dev: Dev, chat: openai.OpenAI) -> None:
    silent: Any = {"sim": {"omit_usage": True}}
    told = chat.responses.create(model="sim", input=ASKED, max_output_tokens=30, store=False)
    untold = chat.responses.create(model="sim", input=ASKED, max_output_tokens=30, store=False, extra_body=silent)
    assert untold.usage is None
    assert told.usage is not None

    def counted() -> bool:
        newest = records(dev, 1)
        return bool(newest) and newest[0]["settlement_basis"] == "counted"

    until(counted, 20)
    record = records(dev, 1)[0]
    assert abs(record["input_tokens"] - told.usage.input_tokens) <= 2
    assert record["output_tokens"] == 30
