"""InvokeModel's requests: each vendor's models take a body of their own. What it asks for, by the vendor in the model's id.

A limit is looked for where the vendor's models look for it, so that no other member can pass for it; with an ARN, which
does not tell the vendor, only an Anthropic body shows what it is. Where nothing is known the limit is None.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html and its pages by vendor.
"""

import msgspec

from proxy.providers.bedrock_requests import members_of
from proxy.providers.reading import MAX_OUTPUT_LIMIT, decode, read_count

_OPENAI_LIKE = (("max_tokens",), ("max_completion_tokens",))
_LIMITS: dict[str, tuple[tuple[str, ...], ...]] = {
    "ai21": (("maxTokens",), ("max_tokens",)),
    "amazon": (
        ("textGenerationConfig", "maxTokenCount"),
        ("inferenceConfig", "maxTokens"),
        ("inferenceConfig", "max_new_tokens"),
    ),
    "anthropic": (("max_tokens",), ("max_tokens_to_sample",)),
    "cohere": (("max_tokens",),),
    "deepseek": _OPENAI_LIKE,
    "google": _OPENAI_LIKE,
    "meta": (("max_gen_len",),),
    "minimax": _OPENAI_LIKE,
    "mistral": _OPENAI_LIKE,
    "moonshot": _OPENAI_LIKE,
    "moonshotai": _OPENAI_LIKE,
    "nvidia": _OPENAI_LIKE,
    "openai": _OPENAI_LIKE,
    "qwen": _OPENAI_LIKE,
    "stability": (),
    "writer": _OPENAI_LIKE,
    "zai": _OPENAI_LIKE,
}
_INNER = frozenset(("numberOfImages", *(path[-1] for paths in _LIMITS.values() for path in paths if len(path) > 1)))
_CHOICES = ("num_generations", "n", "numResults")
_MOST_CHOICES = 128
METERED = frozenset(
    (
        *(path[0] for paths in _LIMITS.values() for path in paths),
        *_CHOICES,
        *("anthropic_version", "imageGenerationConfig", "samples", "documents", "messages"),
    )
)
_EMBEDDING, _RERANK = "embed", "rerank"
_IMAGES = ("stability.", "amazon.titan-image", "amazon.nova-canvas")
_DOCUMENTS = msgspec.json.Decoder(list[msgspec.Raw])
# https://aws.amazon.com/bedrock/pricing/: a search unit is a query with up to 100 documents, a document at most 512 tokens of it.
_DOCUMENTS_A_SEARCH = 100
_TOKENS_A_DOCUMENT = 512

Members = dict[str, msgspec.Raw]


def vendor_of(model: str, members: Members | None = None) -> str | None:
    """The vendor in a model id, behind a region's prefix too; None where the id does not tell."""
    for part in model.rpartition("/")[2].split(".")[:2]:
        if part in _LIMITS:
            return part
    return "anthropic" if members is not None and "anthropic_version" in members else None


def generates_text(model: str) -> bool:
    """False for embeddings, images and reranking, by the model's name."""
    return not (makes_images(model) or _EMBEDDING in model or is_rerank(model))


def makes_images(model: str) -> bool:
    """Whether the answer is images, billed by the piece."""
    return any(name in model for name in _IMAGES)


def is_rerank(model: str) -> bool:
    """Whether the answer is an order of documents, billed by the search."""
    return _RERANK in model


def output_limit(model: str, members: Members) -> int | None:
    """The most output tokens of one choice; None where the request does not say, or nobody knows where it would."""
    if not generates_text(model):
        return 0
    found = []
    for path in _LIMITS.get(vendor_of(model, members) or "", ()):
        holder = members if len(path) == 1 else _holder(members, path[0])
        found.append(read_count(holder, path[-1], 0, MAX_OUTPUT_LIMIT))
    return max((limit for limit in found if limit is not None), default=None)


def choices(members: Members) -> int:
    """How many answers are asked for."""
    return max(read_count(members, name, 1, _MOST_CHOICES) or 1 for name in _CHOICES)


def units(model: str, members: Members) -> dict[str, int]:
    """A bound on what is not billed in tokens."""
    if makes_images(model):
        number = read_count(_holder(members, "imageGenerationConfig"), "numberOfImages", 1, _MOST_CHOICES)
        return {"output_images": max(number or 1, read_count(members, "samples", 1, _MOST_CHOICES) or 1)}
    if is_rerank(model):
        raw = members.get("documents")
        documents = [] if raw is None else decode(raw, _DOCUMENTS, "documents", "`documents` must be an array.")
        # A token is at least a byte, so there are no more parts than this.
        parts = sum(1 + memoryview(document).nbytes // _TOKENS_A_DOCUMENT for document in documents)
        return {"search_units": max(1, -(-parts // _DOCUMENTS_A_SEARCH))}
    return {}


def _holder(members: Members, name: str) -> Members:
    raw = members.get(name)
    if raw is None or bytes(raw) == b"null":
        return {}
    return members_of(raw, name, _INNER)
