"""InvokeModel's answers: the usage in each vendor's own format, and the text to count where there is none.

Sources: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html by vendor: Anthropic `usage`, Nova `usage`,
OpenAI-like `usage`, Llama `prompt_token_count`, Titan `inputTextTokenCount`, Cohere `token_count`.
"""

import msgspec

from proxy.core.usage import Usage
from proxy.providers.answer_texts import texts_of_answer
from proxy.providers.anthropic_usage import Report
from proxy.providers.bedrock_usage import read_token_usage, whole_or_partial
from proxy.providers.openai_usage import read_raw_usage
from proxy.providers.usage_reading import UNREADABLE, Count, Reading, is_given

Members = dict[str, msgspec.Raw]
NO_READING: Reading = (None, None, None)

_TEXTS = (
    *("content", "output", "outputs", "results", "generation", "generations", "choices", "completion", "completions"),
    *("text", "outputText", "delta", "contentBlockDelta"),
)
_members_of = msgspec.json.Decoder(Members).decode


class _Llama(msgspec.Struct, gc=False):
    prompt_token_count: Count = None
    generation_token_count: Count = None


class _TitanResult(msgspec.Struct, gc=False, rename="camel"):
    token_count: Count = None


class _Titan(msgspec.Struct, gc=False, rename="camel"):
    input_text_token_count: Count = None
    results: list[_TitanResult] | None = None


class _CohereCount(msgspec.Struct, gc=False):
    prompt_tokens: Count = None
    response_tokens: Count = None


class _Cohere(msgspec.Struct, gc=False):
    token_count: _CohereCount | None = None


_decode_llama = msgspec.json.Decoder(_Llama).decode
_decode_titan = msgspec.json.Decoder(_Titan).decode
_decode_cohere = msgspec.json.Decoder(_Cohere).decode


def read_members(document: bytes | bytearray) -> Members:
    """The members of an answer, undecoded; raises what `UNREADABLE` lists."""
    return _members_of(document)


def read_body_usage(members: Members, document: bytes | bytearray) -> Reading:
    """The usage in a vendor's answer; nothing where it has none."""
    usage = members.get("usage")
    if usage is not None and is_given(usage):
        return _read_usage(usage)
    try:
        if "prompt_token_count" in members or "generation_token_count" in members:
            llama = _decode_llama(document)
            return _reading(llama.prompt_token_count, llama.generation_token_count)
        if "inputTextTokenCount" in members:
            return _read_titan(_decode_titan(document), embeds="embedding" in members or "embeddings" in members)
        if "token_count" in members:
            count = _decode_cohere(document).token_count or _CohereCount()
            return _reading(count.prompt_tokens, count.response_tokens)
    except UNREADABLE as error:
        return None, None, f"usage not believed: {error}"
    return NO_READING


def text_of(members: Members) -> str:
    """What an answer says, as far as its members are known; a little more than the text where kinds and roles are named."""
    return texts_of_answer({name: bytes(members[name]) for name in _TEXTS if name in members})


def read_counts(input_tokens: bytes | None, output_tokens: bytes | None) -> Reading:
    """`x-amzn-bedrock-input-token-count` and `-output-token-count`, headers of a plain answer."""
    try:
        return _reading(_read_count(input_tokens), _read_count(output_tokens))
    except UNREADABLE as error:
        return None, None, f"usage not believed: {error}"


def _read_usage(usage: msgspec.Raw) -> Reading:
    try:
        names = _members_of(usage).keys()
    except UNREADABLE as error:
        return None, None, f"usage not believed: {error}"
    if "inputTokens" in names:
        return read_token_usage(usage)
    if "prompt_tokens" in names:
        return read_raw_usage(usage)
    report = Report()
    report.add(usage)
    return report.read(final=True)


def _read_titan(titan: _Titan, *, embeds: bool) -> Reading:
    if embeds and titan.input_text_token_count is not None:
        return Usage({"input": titan.input_text_token_count}), None, None
    counts = [result.token_count for result in titan.results or ()]
    known = [count for count in counts if count is not None]
    return _reading(titan.input_text_token_count, sum(known) if known and len(known) == len(counts) else None)


def _reading(given: int | None, made: int | None) -> Reading:
    counters = {name: count for name, count in (("input", given), ("output", made)) if count is not None}
    return whole_or_partial(counters)


_decode_count: "msgspec.json.Decoder[int | None]" = msgspec.json.Decoder(Count)


def _read_count(figure: bytes | None) -> int | None:
    return None if figure is None else _decode_count.decode(figure)
