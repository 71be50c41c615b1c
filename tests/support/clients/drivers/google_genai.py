"""The google-genai SDK: generate_content in its four ways, functions, embeddings and counting."""

from typing import Any

from google import genai
from spoken import ASKED, TOOL, WEATHER, Target, run, said

LIMIT = {"max_output_tokens": 30}


def client_of(target: Target) -> genai.Client:
    return genai.Client(api_key=target.key, http_options={"base_url": target.url})


def answer(response: Any, **more: Any) -> dict[str, Any]:
    usage = response.usage_metadata
    return said(response.text, usage.prompt_token_count, usage.candidates_token_count, **more)


def last(chunks: list[Any]) -> dict[str, Any]:
    usage = chunks[-1].usage_metadata
    text = "".join(chunk.text or "" for chunk in chunks)
    return said(text, usage.prompt_token_count, usage.candidates_token_count)


def plain(target: Target, models: dict[str, str]) -> dict[str, Any]:
    client = client_of(target)  # one that nobody holds closes itself
    return answer(client.models.generate_content(model=models["chat"], contents=ASKED, config=LIMIT))


def stream(target: Target, models: dict[str, str]) -> dict[str, Any]:
    client = client_of(target)
    return last(list(client.models.generate_content_stream(model=models["chat"], contents=ASKED, config=LIMIT)))


async def plain_async(target: Target, models: dict[str, str]) -> dict[str, Any]:
    async with client_of(target).aio as client:
        return answer(await client.models.generate_content(model=models["chat"], contents=ASKED, config=LIMIT))


async def stream_async(target: Target, models: dict[str, str]) -> dict[str, Any]:
    async with client_of(target).aio as client:
        chunks = await client.models.generate_content_stream(model=models["chat"], contents=ASKED, config=LIMIT)
        return last([chunk async for chunk in chunks])


def tools(target: Target, models: dict[str, str]) -> dict[str, Any]:
    config: Any = {
        "tools": [{"function_declarations": [{"name": TOOL, "parameters_json_schema": WEATHER}]}],
        "tool_config": {"function_calling_config": {"mode": "ANY"}},
    }
    client = client_of(target)
    response = client.models.generate_content(model=models["chat"], contents=ASKED, config=config)
    [call] = response.function_calls or []
    usage: Any = response.usage_metadata
    called = [call.name, call.args]
    return said("", usage.prompt_token_count, usage.candidates_token_count, called=called)


def embeddings(target: Target, models: dict[str, str]) -> dict[str, Any]:
    client = client_of(target)
    response = client.models.embed_content(model=models["chat"], contents=[ASKED])
    [made] = response.embeddings or []
    return said(str((made.values or [])[:4]), None, 0)


def count(target: Target, models: dict[str, str]) -> dict[str, Any]:
    client = client_of(target)
    return said("", client.models.count_tokens(model=models["chat"], contents=ASKED).total_tokens, None)


if __name__ == "__main__":
    run(
        {
            "plain": plain,
            "stream": stream,
            "plain async": plain_async,
            "stream async": stream_async,
            "tools": tools,
            "embeddings": embeddings,
            "free count": count,
        }
    )
