"""The cohere SDK, version 2 of its API: chat in its four ways, functions, embeddings and reranking."""

from typing import Any

import cohere
from spoken import ASKED, TOOL, WEATHER, Target, run, said


def client_of(target: Target) -> cohere.ClientV2:
    return cohere.ClientV2(api_key=target.key, base_url=target.url)


def async_client_of(target: Target) -> cohere.AsyncClientV2:
    return cohere.AsyncClientV2(api_key=target.key, base_url=target.url)


def request(models: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"model": models["chat"], "messages": [{"role": "user", "content": ASKED}], "max_tokens": 30, **more}


def answer(response: Any, **more: Any) -> dict[str, Any]:
    text = "".join(part.text for part in response.message.content or [])
    tokens = response.usage.tokens
    return said(text, int(tokens.input_tokens), int(tokens.output_tokens), **more)


def last(events: list[Any]) -> dict[str, Any]:
    text = "".join(event.delta.message.content.text for event in events if event.type == "content-delta")
    [end] = [event for event in events if event.type == "message-end"]
    return said(text, int(end.delta.usage.tokens.input_tokens), int(end.delta.usage.tokens.output_tokens))


def plain(target: Target, models: dict[str, str]) -> dict[str, Any]:
    return answer(client_of(target).chat(**request(models)))


def stream(target: Target, models: dict[str, str]) -> dict[str, Any]:
    return last(list(client_of(target).chat_stream(**request(models))))


async def plain_async(target: Target, models: dict[str, str]) -> dict[str, Any]:
    return answer(await async_client_of(target).chat(**request(models)))


async def stream_async(target: Target, models: dict[str, str]) -> dict[str, Any]:
    return last([event async for event in async_client_of(target).chat_stream(**request(models))])


def tools(target: Target, models: dict[str, str]) -> dict[str, Any]:
    offered = [{"type": "function", "function": {"name": TOOL, "parameters": WEATHER}}]
    response = client_of(target).chat(**request(models, tools=offered))
    [call] = response.message.tool_calls or []
    function: Any = call.function
    return answer(response, called=[function.name, function.arguments])


def embeddings(target: Target, models: dict[str, str]) -> dict[str, Any]:
    made = client_of(target).embed(
        model=models["embed"], texts=[ASKED], input_type="search_document", embedding_types=["float"]
    )
    meta: Any = made.meta
    return said(str(made.embeddings.float_), int(meta.billed_units.input_tokens), 0)


def rerank(target: Target, models: dict[str, str]) -> dict[str, Any]:
    made = client_of(target).rerank(model=models["rerank"], query=ASKED, documents=["a ship", "a tree"], top_n=1)
    meta: Any = made.meta
    return said(str(made.results[0].index), None, 0, search_units=int(meta.billed_units.search_units))


if __name__ == "__main__":
    run(
        {
            "plain": plain,
            "stream": stream,
            "plain async": plain_async,
            "stream async": stream_async,
            "tools": tools,
            "embeddings": embeddings,
            "rerank": rerank,
        },
        scripted=("embeddings", "rerank"),
    )
