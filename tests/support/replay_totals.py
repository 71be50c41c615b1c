"""What a provider says an exchange used, read as plainly as its documentation tells: nothing of Farebox's own readers.

Totals are `{"input", "output", "cache_read", "cache_write", "reasoning"}` in tokens, all input and all output included in
the first two; and `"web_searches"` where the provider bills searches. None where the answer names no usage.
"""

import json
import re
import struct
from typing import Any

from tests.support.replay import Recorded

Totals = dict[str, int]

CHAT, RESPONSES, EMBEDDINGS, MESSAGES, COUNT = "chat", "responses", "embeddings", "messages", "count"
GEMINI, PREDICT, CONVERSE, COHERE_CHAT, COHERE_EMBED = "gemini", "predict", "converse", "cohere", "cohere embed"

_FAMILIES = (
    (r"/chat/completions$", CHAT),
    (r"/responses/input_tokens$|/count_tokens$|:countTokens$", COUNT),
    (r"/v1/messages$", MESSAGES),
    (r"/responses(/[^/]+)?$", RESPONSES),
    (r"api\.cohere\.com/v2/embed$", COHERE_EMBED),
    (r"/embeddings$", EMBEDDINGS),
    (r":(streamG|g)enerateContent$", GEMINI),
    (r":(batchEmbedContents|embedContent)$", GEMINI),
    (r":predict$", PREDICT),
    (r"/converse(-stream)?$", CONVERSE),
    (r"/v2/chat$", COHERE_CHAT),
)


def family_of(exchange: Recorded) -> str:
    """Which of the providers' interfaces an exchange belongs to."""
    where = exchange.host + exchange.path
    for pattern, family in _FAMILIES:
        if re.search(pattern, where):
            return family
    return "other"


def totals_of(exchange: Recorded) -> Totals | None:
    """The provider's own figures for the whole exchange."""
    family = family_of(exchange)
    reader = _READERS.get(family)
    if reader is None or not exchange.ok:
        return None
    documents = [document for document in documents_of(exchange) if isinstance(document, dict)]
    totals: Totals | None = reader(documents)
    if totals is not None and family == CHAT and exchange.asked.get("web_search_options") is not None:
        totals["web_searches"] = (
            1  # https://platform.openai.com/docs/pricing: search models are billed one search a call
        )
    return totals


def bills_more(exchange: Recorded) -> bool:
    """Whether the answer says that something was billed beside its totals: an advisor's work, at its own model's rates.

    https://platform.claude.com/docs/en/agents-and-tools/tool-use/advisor-tool; OpenRouter's `tool_calls_executed`, and its
    `cost` where that is more than the tokens' and no search is told (https://openrouter.ai/docs/use-cases/usage-accounting);
    Groq's `executed_tools` (https://console.groq.com/docs/compound); latency-optimized inference at AWS, which has rates of its
    own (https://docs.aws.amazon.com/bedrock/latest/userguide/latency-optimized-inference.html).
    """
    for document in documents_of(exchange):
        if isinstance(document, dict) and (document.get("performanceConfig") or {}).get("latency") == "optimized":
            return True
        usage = (document or {}).get("usage") if isinstance(document, dict) else None
        rounds = (usage or {}).get("iterations") or ()
        tools = (usage or {}).get("server_tool_use_details") or {}
        if any(entry["type"] not in {"message", "compaction"} for entry in rounds):
            return True
        if (tools.get("tool_calls_executed") or 0) > (tools.get("web_search_requests") or 0):
            return True
        choices = (document or {}).get("choices") or () if isinstance(document, dict) else ()
        if any((choice.get("message") or choice.get("delta") or {}).get("executed_tools") for choice in choices):
            return True
        costs = (usage or {}).get("cost_details") or {}
        tokens = [costs.get(f"upstream_inference_{side}_cost") for side in ("prompt", "completions")]
        if None not in tokens and not tools.get("web_search_requests") and (usage or {})["cost"] > 1.01 * sum(tokens):
            return True
    return False


def documents_of(exchange: Recorded) -> list[Any]:
    """Every JSON document of an answer: one, or one an event."""
    if exchange.content_type.startswith("application/vnd.amazon.eventstream"):
        return _frames(exchange.response)
    text = exchange.response.decode("utf-8", "replace")
    if not exchange.sse:
        document = _json(text)
        return document if isinstance(document, list) else [document]
    lines = text.replace("\r\n", "\n").split("\n")
    data = [line[5:].strip() for line in lines if line.startswith("data:")]
    return [_json(line) for line in data if line and line != "[DONE]"]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _frames(body: bytes) -> list[Any]:
    """The payloads of Amazon's event stream: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html."""
    documents, at = [], 0
    while at + 12 <= len(body):
        total, headers = struct.unpack_from("!II", body, at)
        documents.append(_json(body[at + 12 + headers : at + total - 4].decode()))
        at += total
    return documents


def _last(documents: list[dict[str, Any]], name: str) -> Any:
    found = [document[name] for document in documents if document.get(name)]
    return found[-1] if found else None


def _chat(documents: list[dict[str, Any]]) -> Totals | None:
    """https://platform.openai.com/docs/api-reference/chat/object; Mistral and Together have other names for the cached."""
    usage = _last(documents, "usage")
    if usage is None:
        return None
    given, made = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    cached = given.get("cached_tokens") or usage.get("num_cached_tokens") or usage.get("cached_tokens") or 0
    searches = (usage.get("server_tool_use_details") or {}).get("web_search_requests") or 0
    return {
        "input": usage["prompt_tokens"],
        "output": usage["completion_tokens"],
        "cache_read": cached,
        "cache_write": given.get("cache_write_tokens") or 0,
        "reasoning": min(made.get("reasoning_tokens") or 0, usage["completion_tokens"]),
        "web_searches": searches,
    }


def _responses(documents: list[dict[str, Any]]) -> Totals | None:
    """https://platform.openai.com/docs/api-reference/responses/object."""
    holders = [document.get("response") or document for document in documents]
    usage = _last(holders, "usage")
    if usage is None:
        return None
    given, made = usage.get("input_tokens_details") or {}, usage.get("output_tokens_details") or {}
    ran = [item.get("action") or {} for item in _last(holders, "output") or () if item["type"] == "web_search_call"]
    return {
        # Searching is billed, opening and reading pages is not: https://platform.openai.com/docs/guides/tools-web-search.
        "web_searches": sum(action.get("type", "search") == "search" for action in ran),
        "input": usage["input_tokens"],
        "output": usage["output_tokens"],
        "cache_read": given.get("cached_tokens") or 0,
        "cache_write": given.get("cache_write_tokens") or 0,
        "reasoning": made.get("reasoning_tokens") or 0,
    }


def _messages(documents: list[dict[str, Any]]) -> Totals | None:
    """https://docs.anthropic.com/en/api/messages: caches are beside `input_tokens`; a stream's figures are cumulative."""
    merged: dict[str, Any] = {}
    for document in documents:
        for holder in (document, document.get("message") or {}):
            merged |= {name: figure for name, figure in (holder.get("usage") or {}).items() if figure is not None}
    if not merged:
        return None
    # "A compaction entry's tokens are not included in the top-level usage fields" (anthropic-python, BetaUsage.iterations).
    rounds = [entry for entry in merged.get("iterations") or () if entry["type"] == "compaction"]
    parts = [merged, *rounds]
    read = sum(part.get("cache_read_input_tokens") or 0 for part in parts)
    written = sum(part.get("cache_creation_input_tokens") or 0 for part in parts)
    return {
        "input": sum(part["input_tokens"] for part in parts) + read + written,
        "output": sum(part["output_tokens"] for part in parts),
        "cache_read": read,
        "cache_write": written,
        "reasoning": (merged.get("output_tokens_details") or {}).get("thinking_tokens") or 0,
        "web_searches": (merged.get("server_tool_use") or {}).get("web_search_requests") or 0,
    }


def _embeddings(documents: list[dict[str, Any]]) -> Totals | None:
    """https://platform.openai.com/docs/api-reference/embeddings; Voyage names only the total."""
    usage = _last(documents, "usage")
    return None if usage is None else {"input": usage.get("prompt_tokens", usage["total_tokens"]), "output": 0}


def _gemini(documents: list[dict[str, Any]]) -> Totals | None:
    """https://ai.google.dev/api/generate-content#UsageMetadata: thoughts and tool prompts are beside the other figures."""
    merged: dict[str, Any] = {}
    for document in documents:
        merged |= document.get("usageMetadata") or {}
    if not merged:
        return None
    thoughts = merged.get("thoughtsTokenCount") or 0
    return {
        "input": (merged.get("promptTokenCount") or 0) + (merged.get("toolUsePromptTokenCount") or 0),
        "output": (merged.get("candidatesTokenCount") or 0) + thoughts,
        "cache_read": merged.get("cachedContentTokenCount") or 0,
        "reasoning": thoughts,
    }


def _predict(documents: list[dict[str, Any]]) -> Totals | None:
    """https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api."""
    predictions = [item for document in documents for item in document.get("predictions") or ()]
    counts = [item["embeddings"]["statistics"]["token_count"] for item in predictions]
    return {"input": sum(counts), "output": 0} if counts else None


def _converse(documents: list[dict[str, Any]]) -> Totals | None:
    """https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_TokenUsage.html: caches are beside the input."""
    usage = _last(documents, "usage")
    if usage is None:
        return None
    read, written = usage.get("cacheReadInputTokens") or 0, usage.get("cacheWriteInputTokens") or 0
    return {
        "input": usage["inputTokens"] + read + written,
        "output": usage["outputTokens"],
        "cache_read": read,
        "cache_write": written,
    }


def _cohere_chat(documents: list[dict[str, Any]]) -> Totals | None:
    """https://docs.cohere.com/v2/reference/chat: what is billed, without the tokens that Cohere adds itself."""
    usage = _last([document.get("delta") or document for document in documents], "usage")
    if usage is None:
        return None
    billed = usage["billed_units"]
    return {"input": billed["input_tokens"], "output": billed["output_tokens"]}


def _cohere_embed(documents: list[dict[str, Any]]) -> Totals | None:
    """https://docs.cohere.com/v2/reference/embed."""
    meta = _last(documents, "meta") or {}
    billed = meta.get("billed_units") or {}
    return {"input": billed["input_tokens"], "output": 0} if "input_tokens" in billed else None


_READERS = {
    CHAT: _chat,
    RESPONSES: _responses,
    EMBEDDINGS: _embeddings,
    MESSAGES: _messages,
    GEMINI: _gemini,
    PREDICT: _predict,
    CONVERSE: _converse,
    COHERE_CHAT: _cohere_chat,
    COHERE_EMBED: _cohere_embed,
}
