"""The mistralai SDK: chat in its four ways, functions and embeddings."""

from typing import Any

from mistralai.client import Mistral
from spoken import ASKED, TOOL, WEATHER, Target, run, said


def client_of(target: Target) -> Mistral:
    return Mistral(api_key=target.key, server_url=target.url)


def request(models: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"model": models["chat"], "messages": [{"role": "user", "content": ASKED}], "max_tokens": 30, **more}


def answer(response: Any, **more: Any) -> dict[str, Any]:
    usage = response.usage
    return said(response.choices[0].message.content, usage.prompt_tokens, usage.completion_tokens, **more)


def last(events: list[Any]) -> dict[str, Any]:
    """Mistral tells a stream's usage unasked, with the last event of the answer."""
    chunks = [event.data for event in events]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    usage = next((chunk.usage for chunk in chunks if chunk.usage), None)
    return said(text, usage and usage.prompt_tokens, usage and usage.completion_tokens)


def plain(target: Target, models: dict[str, str]) -> dict[str, Any]:
    with client_of(target) as client:
        return answer(client.chat.complete(**request(models)))


def stream(target: Target, models: dict[str, str], name: str = "chat") -> dict[str, Any]:
    with client_of(target) as client, client.chat.stream(**request(models, model=models[name])) as events:
        return last(list(events))


def stream_of_mistral(target: Target, models: dict[str, str]) -> dict[str, Any]:
    return stream(target, models, "mistral")


async def plain_async(target: Target, models: dict[str, str]) -> dict[str, Any]:
    async with client_of(target) as client:
        return answer(await client.chat.complete_async(**request(models)))


async def stream_async(target: Target, models: dict[str, str]) -> dict[str, Any]:
    async with client_of(target) as client:
        events = await client.chat.stream_async(**request(models))
        return last([event async for event in events])


def tools(target: Target, models: dict[str, str]) -> dict[str, Any]:
    offered = [{"type": "function", "function": {"name": TOOL, "parameters": WEATHER}}]
    with client_of(target) as client:
        response = client.chat.complete(**request(models, tools=offered, tool_choice="any"))
    [call] = response.choices[0].message.tool_calls or []
    return answer(response, called=[call.function.name, call.function.arguments])


def embeddings(target: Target, models: dict[str, str]) -> dict[str, Any]:
    with client_of(target) as client:
        made = client.embeddings.create(model=models["embed"], inputs=[ASKED])
    return said(str(made.data[0].embedding[:4]), made.usage.prompt_tokens, 0)


if __name__ == "__main__":
    run(
        {
            "plain": plain,
            "stream": stream,
            "plain async": plain_async,
            "stream async": stream_async,
            "tools": tools,
            "embeddings": embeddings,
            "stream of mistral": stream_of_mistral,
        },
        scripted=("embeddings", "stream of mistral"),
    )
