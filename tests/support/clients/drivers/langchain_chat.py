"""LangChain's chat models of OpenAI (chat completions and responses), Anthropic and Google, and OpenAI's embeddings."""

import functools
from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessageChunk
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from spoken import ASKED, TOOL, WEATHER, Target, run, said

WEATHER_TOOL = {"name": TOOL, "description": "The weather of some days", "parameters": WEATHER}
CHOICES = {"google": "any", "anthropic": "any"}


def model_of(kind: str, target: Target, models: dict[str, str]) -> Any:
    name = models["chat"]
    if kind == "anthropic":
        return ChatAnthropic(model=name, api_key=target.key, base_url=target.url, max_tokens=30, max_retries=0)
    if kind == "google":
        return ChatGoogleGenerativeAI(
            model=name, api_key=target.key, base_url=target.url, max_output_tokens=30, max_retries=0
        )
    return ChatOpenAI(
        model=name,
        api_key=target.key,
        base_url=f"{target.url}/v1",
        max_tokens=30,
        max_retries=0,
        stream_usage=True,
        use_responses_api=kind == "responses",
    )


def answer(message: Any, **more: Any) -> dict[str, Any]:
    usage = message.usage_metadata
    return said(message.text, usage["input_tokens"], usage["output_tokens"], **more)


def last(chunks: list[AIMessageChunk]) -> dict[str, Any]:
    return answer(functools.reduce(lambda whole, chunk: whole + chunk, chunks))


def plain(kind: str, target: Target, models: dict[str, str]) -> dict[str, Any]:
    return answer(model_of(kind, target, models).invoke(ASKED))


def stream(kind: str, target: Target, models: dict[str, str]) -> dict[str, Any]:
    return last(list(model_of(kind, target, models).stream(ASKED)))


async def stream_async(kind: str, target: Target, models: dict[str, str]) -> dict[str, Any]:
    return last([chunk async for chunk in model_of(kind, target, models).astream(ASKED)])


def tools(kind: str, target: Target, models: dict[str, str]) -> dict[str, Any]:
    bound = model_of(kind, target, models).bind_tools([WEATHER_TOOL], tool_choice=CHOICES.get(kind, "required"))
    message = bound.invoke(ASKED)
    [call] = message.tool_calls
    return answer(message, called=[call["name"], call["args"]])


def embeddings(target: Target, models: dict[str, str]) -> dict[str, Any]:
    model = OpenAIEmbeddings(
        model=models["embed"], api_key=target.key, base_url=f"{target.url}/v1", check_embedding_ctx_length=False
    )
    return said(str(model.embed_documents([ASKED])[0][:4]), None, 0)


if __name__ == "__main__":
    ways = {"plain": plain, "stream": stream, "stream async": stream_async, "tools": tools}
    kinds = ("chat", "responses", "anthropic", "google")
    modes: dict[str, Any] = {
        f"{kind} {way}": functools.partial(call, kind) for kind in kinds for way, call in ways.items()
    }
    run(modes | {"embeddings": embeddings}, faults=tuple(f"{kind} plain" for kind in kinds))
