"""The LiteLLM SDK as a client of OpenAI's, Anthropic's and Gemini's dialects, of responses and of embeddings."""

import functools
from typing import Any

import litellm
from spoken import ASKED, TOOL, WEATHER, Target, run, said

litellm.suppress_debug_info = True
TOOLS = [{"type": "function", "function": {"name": TOOL, "parameters": WEATHER}}]


def request(kind: str, target: Target, models: dict[str, str]) -> dict[str, Any]:
    base = {"openai": f"{target.url}/v1", "anthropic": target.url, "gemini": f"{target.url}/v1beta"}[kind]
    messages = [{"role": "user", "content": ASKED}]
    name = f"{kind}/{models['chat']}"
    return {
        "model": name,
        "messages": messages,
        "max_tokens": 30,
        "api_base": base,
        "api_key": target.key,
        "num_retries": 0,
    }


def answer(response: Any, **more: Any) -> dict[str, Any]:
    usage = response.usage
    return said(response.choices[0].message.content, usage.prompt_tokens, usage.completion_tokens, **more)


def last(chunks: list[Any]) -> dict[str, Any]:
    return answer(litellm.stream_chunk_builder(chunks))


def plain(kind: str, target: Target, models: dict[str, str]) -> dict[str, Any]:
    return answer(litellm.completion(**request(kind, target, models)))


def stream(kind: str, target: Target, models: dict[str, str]) -> dict[str, Any]:
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    return last(list(litellm.completion(**request(kind, target, models), **asked)))


async def stream_async(kind: str, target: Target, models: dict[str, str]) -> dict[str, Any]:
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = await litellm.acompletion(**request(kind, target, models), **asked)
    return last([chunk async for chunk in chunks])


def tools(kind: str, target: Target, models: dict[str, str]) -> dict[str, Any]:
    response: Any = litellm.completion(**request(kind, target, models), tools=TOOLS, tool_choice="required")
    [call] = response.choices[0].message.tool_calls
    return answer(response, called=[call.function.name, call.function.arguments])


def responses(target: Target, models: dict[str, str]) -> dict[str, Any]:
    base = {"api_base": f"{target.url}/v1", "api_key": target.key}
    made: Any = litellm.responses(model=f"openai/{models['chat']}", input=ASKED, max_output_tokens=30, **base)
    return said(made.output_text, made.usage.input_tokens, made.usage.output_tokens)


def embeddings(target: Target, models: dict[str, str]) -> dict[str, Any]:
    base = {"api_base": f"{target.url}/v1", "api_key": target.key}
    made: Any = litellm.embedding(model=f"openai/{models['embed']}", input=[ASKED], **base)
    return said(str(made.data[0]["embedding"][:4]), made.usage.prompt_tokens, 0)


if __name__ == "__main__":
    ways = {"plain": plain, "stream": stream, "stream async": stream_async, "tools": tools}
    kinds = ("openai", "anthropic", "gemini")
    modes: dict[str, Any] = {
        f"{kind} {way}": functools.partial(call, kind) for kind in kinds for way, call in ways.items()
    }
    run(modes | {"responses": responses, "embeddings": embeddings}, faults=tuple(f"{kind} plain" for kind in kinds))
