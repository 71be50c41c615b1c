"""Where compatible providers say what a chat completion used, and in which names: one shape of each, as they document it."""

import json
from typing import Any

import pytest

from proxy.providers.dialect import JSON, SSE, Ask, Meter
from proxy.providers.openai_chat import ChatCompletions

CHAT = ChatCompletions()

# Provider -> its usage, and the counters that follow.
SHAPES: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    # https://console.groq.com/docs/api-reference#chat-create
    "groq": (
        {"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 26, "queue_time": 0.02, "total_time": 0.4}
        | {"prompt_tokens_details": {"cached_tokens": 5}, "completion_tokens_details": {"reasoning_tokens": 2}},
        {"input": 15, "cache_read": 5, "output": 4, "reasoning": 2},
    ),
    # https://docs.mistral.ai/api/#tag/chat
    "mistral": (
        {"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 26, "num_cached_tokens": 5},
        {"input": 15, "cache_read": 5, "output": 6},
    ),
    # https://api-docs.deepseek.com/guides/kv_cache
    "deepseek": (
        {"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 26}
        | {"prompt_cache_hit_tokens": 5, "prompt_cache_miss_tokens": 15}
        | {"completion_tokens_details": {"reasoning_tokens": 2}},
        {"input": 15, "cache_read": 5, "output": 4, "reasoning": 2},
    ),
    # https://platform.moonshot.ai/docs/api/chat
    "moonshot": (
        {"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 26, "cached_tokens": 5},
        {"input": 15, "cache_read": 5, "output": 6},
    ),
    # https://docs.x.ai/docs/guides/reasoning: reasoning is beside completion_tokens, and in the total.
    "xai": (
        {"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 35, "num_sources_used": 4, "cost_in_usd_ticks": 5}
        | {"prompt_tokens_details": {"text_tokens": 20, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 5}}
        | {"completion_tokens_details": {"reasoning_tokens": 9, "audio_tokens": 0, "accepted_prediction_tokens": 0}},
        {
            "input": 15,
            "cache_read": 5,
            "input_audio": 0,
            "output": 6,
            "reasoning": 9,
            "output_audio": 0,
            "web_searches": 4,
        },
    ),
    # https://openrouter.ai/docs/guides/administration/usage-accounting
    "openrouter": (
        {"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 26, "cost": 0.1, "is_byok": False}
        | {"prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 3, "audio_tokens": 0, "video_tokens": 0}}
        | {"completion_tokens_details": {"reasoning_tokens": 2, "image_tokens": 0}}
        | {"cost_details": {"upstream_inference_cost": None}, "server_tool_use_details": {"web_search_requests": 1}},
        {"input": 12, "cache_read": 5, "cache_write_5m": 3, "input_audio": 0}
        | {"output": 4, "reasoning": 2, "output_image": 0, "web_searches": 1},
    ),
    # https://docs.perplexity.ai/getting-started/models/models/sonar-deep-research: citations and reasoning are in no total.
    "perplexity": (
        {"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 26, "citation_tokens": 50, "reasoning_tokens": 70}
        | {"num_search_queries": 3, "search_context_size": "low", "cost": {"total_cost": 0.5}},
        {"input": 70, "output": 6, "reasoning": 70, "web_searches": 3},
    ),
    # https://docs.perplexity.ai/getting-started/models/models/sonar-reasoning-pro
    "perplexity-reasoning": (
        {
            "prompt_tokens": 20,
            "completion_tokens": 6,
            "total_tokens": 26,
            "reasoning_tokens": 70,
            "num_search_queries": 1,
        },
        {"input": 20, "output": 6, "reasoning": 70, "web_searches": 1},
    ),
    # https://docs.databricks.com/aws/en/machine-learning/foundation-model-apis/api-reference: a part of completion_tokens.
    "databricks": (
        {"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 26, "reasoning_tokens": 2},
        {"input": 20, "output": 4, "reasoning": 2},
    ),
    # https://docs.together.ai/reference/chat-completions-1
    "together": (
        {"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 26, "cached_tokens": 0},
        {"input": 20, "cache_read": 0, "output": 6},
    ),
    # https://docs.fireworks.ai/api-reference/post-chatcompletions
    "fireworks": (
        {
            "prompt_tokens": 20,
            "completion_tokens": 6,
            "total_tokens": 26,
            "prompt_tokens_details": {"cached_tokens": 5},
        },
        {"input": 15, "cache_read": 5, "output": 6},
    ),
    # https://inference-docs.cerebras.ai/api-reference/chat-completions
    "cerebras": (
        {"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 26, "image_tokens": None}
        | {"completion_tokens_details": {"accepted_prediction_tokens": 1, "rejected_prediction_tokens": 1}},
        {"input": 20, "output": 6},
    ),
    # https://docs.z.ai/api-reference/llm/chat-completion
    "zai": (
        {
            "prompt_tokens": 20,
            "completion_tokens": 6,
            "total_tokens": 26,
            "prompt_tokens_details": {"cached_tokens": 5},
        },
        {"input": 15, "cache_read": 5, "output": 6},
    ),
    # https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html
    "vllm": (
        {"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 26, "prompt_tokens_details": None},
        {"input": 20, "output": 6},
    ),
    # https://github.com/ggml-org/llama.cpp/tree/master/tools/server
    "llama.cpp": (
        {
            "prompt_tokens": 20,
            "completion_tokens": 6,
            "total_tokens": 26,
            "prompt_tokens_details": {"cached_tokens": 5},
        },
        {"input": 15, "cache_read": 5, "output": 6},
    ),
    # https://ai.google.dev/gemini-api/docs/openai: thoughts are beside completion_tokens, and in the total.
    "gemini": (
        {"prompt_tokens": 20, "completion_tokens": 6, "total_tokens": 126}
        | {"completion_tokens_details": {"reasoning_tokens": 100}},
        {"input": 20, "output": 6, "reasoning": 100},
    ),
}


def counters(meter: Meter) -> dict[str, int] | None:
    meter.finish()
    assert meter.flag is None
    return None if meter.usage is None else dict(meter.usage.counters)


def streamed(*chunks: dict[str, Any]) -> Meter:
    meter = CHAT.meter(Ask(model="m", stream=True, usage_asked=True), SSE)
    for chunk in chunks:
        meter.feed(b"data: %b\n\n" % json.dumps(chunk).encode())
    meter.feed(b"data: [DONE]\n\n")
    return meter


@pytest.mark.parametrize("provider", SHAPES)
def test_a_plain_answer_is_read_as_its_provider_means_it(provider: str) -> None:
    usage, expected = SHAPES[provider]
    meter = CHAT.meter(Ask(model="m"), JSON)
    meter.feed(json.dumps({"choices": [], "usage": usage}).encode())
    assert counters(meter) == expected


@pytest.mark.parametrize("provider", SHAPES)
def test_a_streams_last_chunk_is_read_alike_with_and_without_choices(provider: str) -> None:
    usage, expected = SHAPES[provider]
    begun = {"choices": [{"index": 0, "delta": {"content": "hi"}}]}
    ended = {"index": 0, "delta": {}, "finish_reason": "stop"}
    assert counters(streamed(begun, {"choices": [ended], "usage": usage})) == expected
    assert counters(streamed(begun, {"choices": [ended]}, {"choices": [], "usage": usage})) == expected
    # Groq's own place for it, and Moonshot's.
    assert counters(streamed(begun, {"choices": [ended], "x_groq": {"id": "req", "usage": usage}})) == expected
    assert counters(streamed(begun, {"choices": [{**ended, "usage": usage}]})) == expected


def test_figures_that_grow_with_the_stream_are_replaced() -> None:
    early, late = ({"prompt_tokens": 20, "completion_tokens": count, "total_tokens": 20 + count} for count in (1, 6))
    chunk = {"choices": [{"index": 0, "delta": {"content": "hi"}}]}
    assert counters(streamed({**chunk, "usage": early}, {**chunk, "usage": late})) == {"input": 20, "output": 6}


def test_a_later_usage_that_says_nothing_takes_nothing_back() -> None:
    usage, expected = SHAPES["vllm"]
    chunk = {"choices": [{"index": 0, "delta": {"content": "hi"}}]}
    for empty in ({}, None, {"prompt_tokens": None}, {"prompt_tokens": 20}):
        assert counters(streamed({**chunk, "usage": usage}, {**chunk, "usage": empty})) == expected


def test_figures_at_the_wrong_place_are_held_to_the_same_rules() -> None:
    odd = {"prompt_tokens": -1, "completion_tokens": 6}
    for chunk in ({"choices": [{"usage": odd}]}, {"choices": [], "x_groq": {"usage": odd}}):
        meter = streamed(chunk)
        meter.finish()
        assert meter.usage is None
        assert meter.flag is not None
