"""What clients send, one of each shape with every member that is read: the templates of the request targets."""

import json
from typing import Any

from tests.support.forms import form


def _json(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


_TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "high"}}
_OPENAI = (
    _json(
        {
            "model": "m",
            "models": ["n"],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "hi"}, _IMAGE]},
                {
                    "role": "user",
                    "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}],
                },
            ],
            "stream": True,
            "stream_options": {"include_usage": True},
            "n": 2,
            "service_tier": "flex",
            "web_search_options": {},
            "max_tokens": 5,
            "max_completion_tokens": 6,
            "n_predict": -1,
            "tools": _TOOLS,
            "response_format": {"type": "json_object"},
        }
    ),
    _json({"model": "m", "messages": [{"role": "user", "content": "stream_options"}], "stream": True}),
    json.dumps(
        {"model": "m", "stream": True, "stream_options": {"a": 1}, "messages": [], "user": "u"}, indent=1
    ).encode(),
    _json({"model": "m", "prompt": ["a", "b"], "n": 2, "best_of": 3, "max_tokens": 4, "echo": True, "stream": True}),
    _json({"model": "m", "prompt": [[1, 2], [3]], "suffix": "s"}),
    _json(
        {
            "model": "m",
            "input": [
                {
                    "role": "user",
                    "content": [{"type": "input_text", "text": "hi"}, {"type": "input_image", "file_id": "f"}],
                },
                {"type": "item_reference", "id": "msg_1"},
            ],
            "instructions": "do",
            "previous_response_id": "resp_1",
            "conversation": {"id": "conv_1"},
            "background": False,
            "store": True,
            "stream": True,
            "max_output_tokens": 9,
            "service_tier": "priority",
            "tools": [
                {"type": "web_search"},
                {"type": "code_interpreter", "container": "cntr_1"},
                {"type": "file_search"},
            ],
            "prompt": {"id": "pmpt_1"},
        }
    ),
    _json({"model": "m", "input": ["a", "b"], "dimensions": 5, "encoding_format": "base64"}),
    _json({"model": "m", "input": [[1, 2], [3]]}),
    _json({"model": "gpt-image-1", "prompt": "p", "n": 2, "size": "1024x1024", "quality": "high", "stream": True}),
    _json({"model": "dall-e-3", "prompt": "p", "size": "1792x1024", "quality": "hd", "partial_images": 2}),
    _json({"model": "tts-1", "input": "say", "voice": "alloy", "instructions": "calm", "stream_format": "sse"}),
    _json({"model": "m", "query": "q", "documents": ["d", {"text": "e"}], "top_n": 1}),
    _json({"model": "m", "input": [{"type": "text", "text": "t"}, _IMAGE]}),
    form({"file": b"RIFF" + b"\0" * 60}, model="whisper-1", response_format="json", language="en", stream="true"),
    form(
        {"image": b"\x89PNG", "mask": b"\x89PNG"},
        model="gpt-image-1",
        prompt="p",
        n="2",
        size="1024x1024",
        quality="low",
    ),
)
_ANTHROPIC = (
    _json(
        {
            "model": "m",
            "max_tokens": 5,
            "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
            "messages": [
                {"role": "user", "content": [{"type": "image", "source": {"type": "base64", "data": "AAAA"}}]},
                {"role": "assistant", "content": "hi"},
            ],
            "stream": True,
            "service_tier": "auto",
            "speed": "fast",
            "inference_geo": "us",
            "container": "container_1",
            "fallbacks": [{"model": "n"}],
            "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}, {"name": "look"}],
            "mcp_servers": [],
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        }
    ),
    _json({"model": "m", "max_tokens": 1, "messages": []}),
    json.dumps({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}, indent=2).encode(),
)
_GEMINI = (
    _json(
        {
            "contents": [
                {
                    "role": "user",
                    "parts": [
                        {"text": "hi"},
                        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
                        {"file_data": {"file_uri": "u", "mime_type": "video/mp4"}},
                        {"functionResponse": {"name": "f", "response": {}, "parts": [{"inlineData": {"data": "AA"}}]}},
                    ],
                }
            ],
            "systemInstruction": {"parts": [{"text": "s"}]},
            "generationConfig": {"maxOutputTokens": 7, "candidateCount": 2, "responseModalities": ["TEXT"]},
            "tools": [{"googleSearch": {}}, {"functionDeclarations": []}, {"code_execution": {}}],
            "cachedContent": "cachedContents/1",
            "serviceTier": "flex",
            "model": "models/m",
        }
    ),
    _json({"contents": {"parts": {"text": "hi"}}, "generation_config": {"max_output_tokens": 7}}),
    _json({"generateContentRequest": {"model": "models/m", "contents": [{"parts": [{"text": "hi"}]}]}}),
    _json({"model": "models/m", "content": {"parts": [{"text": "hi"}]}, "taskType": "X", "outputDimensionality": 3}),
    _json({"requests": [{"model": "models/m", "content": {"parts": [{"text": "hi"}]}}, {"content": {"parts": []}}]}),
    _json(
        {"instances": [{"content": "hi", "task_type": "X"}, {"content": "ho"}], "parameters": {"autoTruncate": True}}
    ),
    _json({"anthropic_version": "vertex-2023-10-16", "max_tokens": 4, "stream": True, "messages": []}),
    json.dumps({"contents": [{"parts": [{"text": "x"}]}]}, indent=1).encode(),
)
_BEDROCK = (
    _json(
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"text": "hi"},
                        {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
                        {"document": {"name": "d", "source": {"s3Location": {"uri": "u"}}}},
                        {"cachePoint": {"type": "default"}},
                    ],
                }
            ],
            "system": [{"text": "s"}],
            "inferenceConfig": {"maxTokens": 5},
            "toolConfig": {"tools": [{"toolSpec": {"name": "t"}}]},
            "serviceTier": {"type": "priority"},
            "performanceConfig": {"latency": "optimized"},
            "additionalModelRequestFields": {"max_tokens": 4},
            "guardrailConfig": {},
            "promptVariables": {},
        }
    ),
    _json({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 4, "messages": [{"role": "user", "content": "x"}]}),
    _json({"inputText": "hi", "textGenerationConfig": {"maxTokenCount": 5}}),
    _json({"prompt": "hi", "max_gen_len": 5, "images": ["AAAA"]}),
    _json({"prompt": "hi", "max_tokens": 5, "num_generations": 2, "maxTokens": 6, "numResults": 3}),
    _json({"texts": ["a"], "input_type": "search_query", "query": "q", "documents": ["d"]}),
    _json({"input": {"converse": {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}}}),
    _json({"input": {"invokeModel": {"body": "e30="}}}),
    _json(
        {"taskType": "TEXT_IMAGE", "imageGenerationConfig": {"numberOfImages": 2, "width": 512, "quality": "premium"}}
    ),
)
_COHERE = (
    _json(
        {
            "model": "m",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, _IMAGE]}],
            "stream": True,
            "max_tokens": 5,
            "documents": ["d"],
            "tools": _TOOLS,
        }
    ),
    _json({"model": "m", "texts": ["a", "b"], "images": ["data:x"], "inputs": [{"content": []}], "input_type": "x"}),
    _json({"model": "m", "query": "q", "documents": ["d", "e"], "top_n": 1, "max_tokens_per_doc": 4096}),
)

REQUESTS: dict[str, tuple[bytes, ...]] = {
    "openai": _OPENAI,
    "anthropic": _ANTHROPIC,
    "gemini": _GEMINI,
    "bedrock": _BEDROCK,
    "cohere": _COHERE,
}
