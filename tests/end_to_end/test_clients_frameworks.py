"""LangChain and the LiteLLM SDK through Farebox with only base URL and key changed, in every dialect that they speak.

What they return is what the provider itself makes them return, and each call is on record with the usage that they were told.
"""

from collections.abc import Iterator

import pytest

from tests.support.clients.runs import Client, Stage, check_record, in_order, staged

WAYS = ("plain", "stream", "stream async", "tools")


def modes(**kinds: str) -> dict[str, str]:
    return {f"{kind} {way}": dialect for kind, dialect in kinds.items() for way in WAYS}


CLIENTS = {
    "langchain": Client(
        driver="langchain_chat.py",
        family="langchain",
        modes=modes(chat="openai", responses="openai", anthropic="anthropic", google="gemini")
        | {"embeddings": "openai"},
        rejected={
            "chat plain": "AuthenticationError",
            "responses plain": "AuthenticationError",
            "anthropic plain": "AuthenticationError",
            "google plain": "GoogleAuthenticationError",
        },
        unpaid={
            "chat plain": "APIStatusError",
            "responses plain": "APIStatusError",
            "anthropic plain": "APIStatusError",
            "google plain": "GoogleGenerativeAIError",
        },
    ),
    "litellm": Client(
        driver="litellm_calls.py",
        family="litellm",
        modes=modes(openai="openai", anthropic="anthropic", gemini="gemini")
        | {"responses": "openai", "embeddings": "openai"},
        rejected={
            "openai plain": "AuthenticationError",
            "anthropic plain": "AuthenticationError",
            "gemini plain": "AuthenticationError",
        },
        unpaid={"openai plain": "APIError", "anthropic plain": "APIError", "gemini plain": "APIError"},
    ),
}

pytestmark = [pytest.mark.soak, pytest.mark.timeout(400)]  # the first test of a client installs it


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("frameworks")) as stage:
        yield stage


@pytest.mark.parametrize(("name", "mode"), in_order(CLIENTS, "modes"))
def test_answers_are_the_providers_and_on_record(stage: Stage, name: str, mode: str) -> None:
    run = stage.run(name, CLIENTS[name])
    said = run.said(mode)
    assert said == run.said(mode, "direct")
    assert said["text"] or said["called"][0] == "get_weather"
    told = (
        run.records[mode]["input_tokens"] if said["input"] is None else said["input"]
    )  # LangChain drops that of embeddings
    check_record(run.records[mode], CLIENTS[name], mode, (told, said["output"]))
    assert told > 0


@pytest.mark.parametrize(("name", "mode"), in_order(CLIENTS, "rejected"))
def test_a_wrong_key_is_their_error_of_authentication(stage: Stage, name: str, mode: str) -> None:
    error = stage.run(name, CLIENTS[name]).failed(mode, "bad")
    assert CLIENTS[name].rejected[mode] in error["classes"]
    assert "The API key is missing or not valid." in error["message"]


@pytest.mark.parametrize(("name", "mode"), in_order(CLIENTS, "unpaid"))
def test_too_few_credits_are_their_error_of_status_402(stage: Stage, name: str, mode: str) -> None:
    error = stage.run(name, CLIENTS[name]).failed(mode, "poor")
    assert CLIENTS[name].unpaid[mode] in error["classes"]
    assert "credits" in error["message"]
    assert error["status"] == 402 or (
        error["status"] is None and "402" in error["message"]
    )  # Google's error has no member for it
