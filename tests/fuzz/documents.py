"""What providers answer, one of each shape with every member that metering reads: the templates of the answer targets."""

import base64
import json
from typing import Any


def _json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _events(*datas: Any, named: bool = False, end: bytes = b"\n") -> bytes:
    """A stream; `named` puts the event's type in front, as OpenAI's responses and Anthropic do."""
    blocks = []
    for data in datas:
        name = b"event: " + data["type"].encode() + end if named else b""
        blocks.append(name + b"data: " + (data if isinstance(data, bytes) else _json(data)) + end + end)
    return b"".join(blocks)


def _frames(*events: tuple[str, Any]) -> bytes:
    """Lines of `kind payload`, which the target puts into frames; without a payload an exception."""
    return b"\n".join(kind.encode() + (b"" if payload is None else b" " + _json(payload)) for kind, payload in events)


def _chunks(*events: Any) -> bytes:
    return _frames(*[("chunk", {"bytes": base64.b64encode(_json(event)).decode()}) for event in events])


_CHAT_USAGE = {
    "prompt_tokens": 30,
    "completion_tokens": 12,
    "total_tokens": 42,
    "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 2, "audio_tokens": 3, "video_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 2, "image_tokens": 1},
    "server_tool_use_details": {"web_search_requests": 1, "tool_calls_executed": 0},
    "num_search_queries": 1,
    "cost": 0.1,
}
_SMALL = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
_CALL = {"index": 0, "function": {"name": "look", "arguments": '{"a":1}'}}
_RESPONSE_USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 0},
    "output_tokens": 9,
    "output_tokens_details": {"reasoning_tokens": 4},
    "total_tokens": 29,
}
_OUTPUT = [
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "so"}]},
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
    {"type": "code_interpreter_call", "container_id": "cntr_1", "code": "1+1"},
    {"type": "function_call", "name": "look", "arguments": "{}"},
    {"type": "message", "content": [{"type": "output_text", "text": "héllo"}]},
]
_RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "background": False,
    "store": True,
    "service_tier": "default",
    "model": "m",
    "error": None,
    "output": _OUTPUT,
    "tools": [{"type": "web_search"}, {"type": "code_interpreter", "container": {"type": "auto"}}],
    "tool_usage": {"image_gen": {"total_tokens": 0}, "web_search": {"num_requests": 1}},
    "usage": _RESPONSE_USAGE,
}
_OPENAI = (
    _json(
        {
            "id": "c",
            "model": "m",
            "service_tier": "flex",
            "choices": [{"message": {"content": "hi", "reasoning_content": "so", "tool_calls": [_CALL]}, "text": "x"}],
            "usage": _CHAT_USAGE,
            "error": None,
        }
    ),
    _events(
        {"choices": [{"delta": {"content": "a", "tool_calls": [_CALL]}, "finish_reason": None}], "usage": None},
        {
            "choices": [
                {"delta": {"content": [{"type": "text", "text": "b"}]}, "finish_reason": "stop", "usage": _SMALL}
            ]
        },
        {"model": "n", "service_tier": "flex", "choices": [], "usage": _CHAT_USAGE},
        b"[DONE]",
    ),
    _events(
        {"choices": [{"text": "a", "finish_reason": "stop"}], "x_groq": {"id": "r", "usage": _SMALL}},
        {"error": {"message": "no"}, "choices": []},
        {"choices": [], "usage": _SMALL},
        end=b"\r\n",
    ),
    _json(_RESPONSE),
    _events(
        {"type": "response.created", "response": {**_RESPONSE, "status": "in_progress", "usage": None, "output": []}},
        {"type": "response.output_text.delta", "delta": "hi"},
        {"type": "response.output_item.done", "item": _OUTPUT[1]},
        {"type": "response.completed", "response": _RESPONSE},
        named=True,
    ),
    _json(
        {
            "object": "list",
            "data": [{"embedding": "AAAA", "index": 0}],
            "usage": {"prompt_tokens": 8, "total_tokens": 8},
        }
    ),
    _json(
        {
            "data": [{"b64_json": "aGk="}, {"url": "https://x"}],
            "size": "1024x1024",
            "quality": "high",
            "usage": {
                "input_tokens": 50,
                "input_tokens_details": {"text_tokens": 10, "image_tokens": 40, "cached_tokens": 5},
                "output_tokens": 272,
                "output_tokens_details": {"image_tokens": 272, "text_tokens": 0},
                "total_tokens": 322,
            },
        }
    ),
    _events(
        {"type": "image_generation.partial_image", "b64_json": "aGk=", "partial_image_index": 0},
        {"type": "image_generation.completed", "b64_json": "aGk=", "usage": {"input_tokens": 5, "output_tokens": 7}},
        named=True,
    ),
    _json(
        {
            "text": "spoken",
            "duration": 3.2,
            "segments": [{"text": "spoken", "start": 0, "end": 3.2}],
            "usage": {
                "type": "tokens",
                "input_tokens": 14,
                "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
                "output_tokens": 5,
                "seconds": 4,
                "total_tokens": 19,
            },
        }
    ),
    _events(
        {"type": "transcript.text.delta", "delta": "a"},
        {"type": "transcript.text.done", "text": "a", "usage": {"type": "duration", "seconds": 3}},
        named=True,
    ),
    _events(
        {"type": "speech.audio.delta", "audio": "AAAA"},
        {"type": "speech.audio.done", "usage": {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}},
        named=True,
    ),
    _json({"id": "modr-1", "model": "omni-moderation-latest", "results": [{"flagged": False}]}),
    _json({"results": [{"index": 0, "relevance_score": 0.5}], "usage": {"total_tokens": 9, "search_units": 1}}),
    _json({"object": "response.input_tokens", "input_tokens": 11}),
    _json({"error": {"message": "no", "type": "server_error"}}),
)
_CLAUDE_USAGE = {
    "input_tokens": 20,
    "cache_read_input_tokens": 5,
    "cache_creation_input_tokens": 7,
    "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3},
    "output_tokens": 9,
    "output_tokens_details": {"thinking_tokens": 2},
    "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0},
    "service_tier": "standard",
    "speed": "fast",
    "inference_geo": "us",
}
_CLAUDE_CONTENT = [
    {"type": "thinking", "thinking": "so", "signature": "s"},
    {"type": "tool_use", "id": "t", "name": "look", "input": {"a": 1}},
    {"type": "text", "text": "hi"},
]
_CLAUDE_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "model": "m",
    "content": _CLAUDE_CONTENT,
    "stop_reason": "end_turn",
    "container": {"id": "container_1"},
    "usage": _CLAUDE_USAGE,
}
_CLAUDE_EVENTS = (
    {"type": "message_start", "message": {**_CLAUDE_MESSAGE, "content": []}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "tool_use", "name": "look", "input": {}}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": "{"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "container": {"id": "container_1"}},
        "usage": {"output_tokens": 15, "iterations": [{"type": "message", "input_tokens": 1, "output_tokens": 15}]},
    },
    {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 8, "outputTokenCount": 3}},
)
_ANTHROPIC = (
    _json(_CLAUDE_MESSAGE),
    _json({**_CLAUDE_MESSAGE, "usage": {**_CLAUDE_USAGE, "iterations": [{"type": "compaction", **_CLAUDE_USAGE}]}}),
    _events(*_CLAUDE_EVENTS, named=True),
    _events({"type": "error", "error": {"type": "overloaded_error", "message": "no"}}, {"type": "ping"}, named=True),
    _json({"input_tokens": 12}),
)
_GEMINI_USAGE = {
    "promptTokenCount": 20,
    "cachedContentTokenCount": 6,
    "candidatesTokenCount": 9,
    "toolUsePromptTokenCount": 4,
    "thoughtsTokenCount": 3,
    "totalTokenCount": 36,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 12}, {"modality": "IMAGE", "tokenCount": 8}],
    "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 6}],
    "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 9}],
    "toolUsePromptTokensDetails": [{"modality": "TEXT", "tokenCount": 4}],
    "trafficType": "ON_DEMAND",
    "serviceTier": "flex",
}
_GEMINI_ANSWER = {
    "candidates": [
        {
            "index": 0,
            "content": {
                "parts": [
                    {"text": "hi"},
                    {"thought": True, "text": "so"},
                    {"functionCall": {"name": "look", "args": {"a": 1}}},
                    {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
                    {"executableCode": {"code": "1"}},
                ],
                "role": "model",
            },
            "finishReason": "STOP",
            "groundingMetadata": {"webSearchQueries": ["a", "b"], "groundingChunks": [{"maps": {}}, {"web": {}}]},
        }
    ],
    "promptFeedback": {"blockReason": "SAFETY"},
    "usageMetadata": _GEMINI_USAGE,
    "modelVersion": "m",
    "responseId": "r",
}
_GEMINI_PIECE = {"candidates": [{"content": {"parts": [{"text": "a"}]}}], "usageMetadata": {"promptTokenCount": 20}}
_GEMINI = (
    _json(_GEMINI_ANSWER),
    _events(_GEMINI_PIECE, _GEMINI_ANSWER, end=b"\r\n"),
    _json([_GEMINI_PIECE, _GEMINI_ANSWER]).replace(b"},{", b"}\n,\r\n{"),
    _json({"totalTokens": 31, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 31}]}),
    _json({"embedding": {"values": [0.1]}, "usageMetadata": {"promptTokenCount": 5, "promptTokenDetails": []}}),
    _json({"embeddings": [{"values": [0.1]}], "usageMetadata": {"promptTokenCount": 5, "totalTokenCount": 5}}),
    _json({"predictions": [{"embeddings": {"values": [0.1], "statistics": {"token_count": 4, "truncated": False}}}]}),
    _json({"error": {"code": 503, "message": "no", "status": "UNAVAILABLE"}}),
    _json([{"error": {"code": 503, "message": "no", "status": "UNAVAILABLE"}}]),
    *_ANTHROPIC[:3],
)
_CONVERSE_USAGE = {
    "inputTokens": 20,
    "outputTokens": 9,
    "totalTokens": 34,
    "cacheReadInputTokens": 3,
    "cacheWriteInputTokens": 2,
    "cacheDetails": [{"ttl": "1h", "inputTokens": 2}],
    "serverToolUsage": {"web_search": 0},
}
_CONVERSE = {
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                {"text": "hi"},
                {"toolUse": {"name": "look", "input": {"a": 1}}},
                {"reasoningContent": {"reasoningText": {"text": "so"}}},
            ],
        }
    },
    "stopReason": "end_turn",
    "metrics": {"latencyMs": 5},
    "performanceConfig": {"latency": "optimized"},
    "serviceTier": {"type": "priority"},
    "usage": _CONVERSE_USAGE,
}
_BEDROCK = (
    _json(_CONVERSE),
    _frames(
        ("messageStart", {"role": "assistant"}),
        ("contentBlockStart", {"start": {"toolUse": {"name": "look"}}, "contentBlockIndex": 0}),
        ("contentBlockDelta", {"delta": {"text": "hi", "toolUse": {"input": "{"}}, "contentBlockIndex": 0}),
        ("contentBlockDelta", {"delta": {"reasoningContent": {"text": "so"}}}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": _CONVERSE_USAGE, "metrics": {"latencyMs": 1}, "serviceTier": {"type": "flex"}}),
    ),
    _frames(("messageStart", {"role": "assistant"}), ("throttlingException", None)),
    _chunks(*_CLAUDE_EVENTS),
    _chunks(
        {"generation": "hi", "prompt_token_count": 8, "generation_token_count": 2, "stop_reason": "stop"},
        {
            "amazon-bedrock-invocationMetrics": {
                "inputTokenCount": 8,
                "outputTokenCount": 2,
                "cacheReadInputTokenCount": 1,
            }
        },
    ),
    _frames(("chunk", {"bytes": "e30="}), ("chunk", {"bytes": "e31"}), ("chunk", {"bytes": 5})),
    _json({"generation": "hi", "prompt_token_count": 8, "generation_token_count": 2}),
    _json({"inputTextTokenCount": 5, "results": [{"tokenCount": 3, "outputText": "hi"}], "embedding": None}),
    _json({"embedding": [0.1], "inputTextTokenCount": 5}),
    _json({"generations": [{"text": "hi"}], "token_count": {"prompt_tokens": 4, "response_tokens": 2}}),
    _json({"choices": [{"message": {"content": "hi"}}], "usage": _SMALL}),
    _json({"output": {"message": {"content": [{"text": "hi"}]}}, "usage": _CONVERSE_USAGE}),
    _json({"inputTokens": 30}),
    _ANTHROPIC[0],
)
_COHERE_UNITS = {"input_tokens": 7, "output_tokens": 3, "search_units": 1, "images": 0, "image_tokens": 0}
_COHERE_USAGE = {"billed_units": _COHERE_UNITS, "tokens": {"input_tokens": 70.0, "output_tokens": 4}}
_COHERE = (
    _json(
        {
            "id": "c",
            "finish_reason": "COMPLETE",
            "message": {"content": [{"type": "text", "text": "hi"}], "tool_calls": [_CALL], "tool_plan": "so"},
            "usage": _COHERE_USAGE,
        }
    ),
    _events(
        {"type": "message-start", "id": "c"},
        {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "so"}}},
        {"type": "tool-call-start", "delta": {"message": {"tool_calls": _CALL}}},
        {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "hi", "thinking": "so"}}}},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "error": None, "usage": _COHERE_USAGE}},
        named=True,
    ),
    _json({"embeddings": {"float": [[0.1]]}, "meta": {"billed_units": {"input_tokens": 4, "images": 1}}}),
    _json({"results": [{"index": 0, "relevance_score": 0.9}], "meta": {"billed_units": {"search_units": 1}}}),
    _json({"message": "no"}),
)

ANSWERS: dict[str, tuple[bytes, ...]] = {
    "openai": _OPENAI,
    "anthropic": _ANTHROPIC,
    "gemini": _GEMINI,
    "bedrock": _BEDROCK,
    "cohere": _COHERE,
}
