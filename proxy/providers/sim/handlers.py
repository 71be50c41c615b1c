"""The simulated provider's chat completions, legacy completions, embeddings and messages, plain and streamed."""

from collections.abc import Iterator
from typing import Any

import msgspec
from aiohttp import web

from proxy.core.errors import InvalidRequest
from proxy.providers.sim import chat, completions, embeddings, messages
from proxy.providers.sim.request import (
    CHAT,
    MESSAGES,
    Request,
    read_completions,
    read_conversation,
    read_embeddings,
)
from proxy.providers.sim.serving import (
    Event,
    count,
    data,
    encode,
    failure_event,
    hesitate,
    input_tokens,
    named,
    send,
    stream,
)
from proxy.providers.sim.writer import identity, write

_DONE: Event = (b"data: [DONE]\n\n", False)


async def answer_chat(request: web.Request, body: bytes) -> web.StreamResponse:
    """`POST /v1/chat/completions`."""
    asked = read_conversation(CHAT, body)
    await hesitate(asked.behaviour)
    counted = await input_tokens(asked)
    replies = [write(asked.task(choice)) for choice in range(asked.ask.choices)]
    name, model = identity(asked.task(0)), asked.ask.model
    used = None if asked.behaviour.omit_usage else chat.usage(counted, replies)
    if not asked.ask.stream:
        return await send(request, asked.behaviour, chat.document(name, model, replies, used))

    def events() -> Iterator[Event]:
        for index, reply in enumerate(replies):
            for chunk in chat.chunks(name, model, index, reply, usage_asked=asked.ask.usage_asked):
                delta = chunk["choices"][0]["delta"]
                yield data(chunk), bool(delta) and "role" not in delta
        if used is not None and asked.ask.usage_asked:
            yield data(chat.usage_chunk(name, model, used)), False
        yield _DONE

    return await stream(request, asked.behaviour, events(), failure_event("openai"))


async def answer_completions(request: web.Request, body: bytes) -> web.StreamResponse:
    """`POST /v1/completions`: a choice for each prompt, `n` times."""
    asked, prompts = read_completions(body)
    await hesitate(asked.behaviour)
    counted = await count(asked.prompt)
    replies = [write(asked.task(choice, prompt)) for prompt in prompts for choice in range(asked.ask.choices)]
    head = completions.head(identity(asked.task(0)), asked.ask.model)
    used = None if asked.behaviour.omit_usage else completions.usage(counted, replies)
    if not asked.ask.stream:
        return await send(request, asked.behaviour, completions.document(head, replies, used))

    def events() -> Iterator[Event]:
        for index, reply in enumerate(replies):
            for chunk, is_token in completions.chunks(head, index, reply, usage_asked=asked.ask.usage_asked):
                yield data(chunk), is_token
        if used is not None and asked.ask.usage_asked:
            yield data({**head, "choices": [], "usage": used}), False
        yield _DONE

    return await stream(request, asked.behaviour, events(), failure_event("openai"))


async def answer_embeddings(request: web.Request, body: bytes) -> web.StreamResponse:
    """`POST /v1/embeddings`: floats or base64."""
    asked, inputs = read_embeddings(body)
    await hesitate(asked.behaviour)
    dimensions = embeddings.read_dimensions(asked.members.get("dimensions"), "dimensions")
    counted = sum([await count(text) for text in inputs])
    document = embeddings.document(
        asked.ask.model,
        [embeddings.vector(text, dimensions) for text in inputs],
        base64=asked.members.get("encoding_format") == "base64",
        input_tokens=None if asked.behaviour.omit_usage else counted,
    )
    return await send(request, asked.behaviour, document)


async def answer_messages(request: web.Request, body: bytes) -> web.StreamResponse:
    """`POST /v1/messages`."""
    asked = read_conversation(MESSAGES, body)
    await hesitate(asked.behaviour)
    counted = await input_tokens(asked)
    told = None if asked.behaviour.omit_usage else counted
    reply = write(asked.task(0))
    name, model = identity(asked.task(0)), asked.ask.model
    if not asked.ask.stream:
        return await send(request, asked.behaviour, messages.document(name, model, reply, told))

    def events() -> Iterator[Event]:
        for event in messages.beginning(name, model, reply, told):
            yield named(event), False
        for piece in reply.pieces:
            yield named(messages.delta(reply, piece)), True
        for event in messages.end(reply, told):
            yield named(event), False

    return await stream(request, asked.behaviour, events(), failure_event("anthropic"))


async def answer_count_tokens(_request: web.Request, body: bytes) -> web.StreamResponse:
    """`POST /v1/messages/count_tokens`: what `messages` would bill as input."""
    try:
        members = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest("The request body is not valid JSON.") from None
    asked: Request = read_conversation(MESSAGES, encode({"max_tokens": 1, **members}))
    return web.json_response({"input_tokens": await input_tokens(asked)})
