"""OpenAI's SDK and everything beside chat: what it sends arrives as it was sent, and what it cost is on the record."""

import base64
import io
import json
import wave
from collections.abc import Iterator
from typing import Any

import httpx2 as httpx
import openai
import pytest

from tests.support.answers import event
from tests.support.installation import Installation
from tests.support.scripted_provider import Answer, Asked, ScriptedProvider

CREDITS = 1000
MICROCREDITS = 1_000_000
# Per unit, in microcredits: 1,000 credits a USD.
PRICES = """
[providers.media]
dialect = "openai"
base_url = "{url}/v1"
api_key = "media-key"
models = ["tts-1", "gpt-tts", "whisper-1", "gpt-transcribe", "gpt-image-1", "dall-e-3", "text-embedding-3-small", "rerank-1", "gpt-instruct", "omni-moderation-latest"]
[prices."tts-1"]
input_characters = "15"
[prices."gpt-tts"]
input = "1"
output = "0"
output_audio = "12"
[prices."whisper-1"]
input_seconds = "100"
[prices."gpt-transcribe"]
input = "2"
input_audio = "6"
output = "10"
[prices."gpt-image-1"]
input = "5"
input_image = "10"
output = "10"
output_image = "40"
[prices."dall-e-3"]
output_images = "40000"
[prices."text-embedding-3-small"]
input = "0.02"
output = "0"
[prices."rerank-1"]
search_units = "2000"
[prices."gpt-instruct"]
input = "1"
output = "2"
"""


def sound(seconds: int) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(b"\x00" * (seconds * 32_000))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture(scope="module")
def farebox(tmp_path_factory: pytest.TempPathFactory, provider: ScriptedProvider) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("farebox")
    with Installation(folder, provider.url("local"), extra=PRICES.format(url=provider.url("media"))) as running:
        yield running


class Caller:
    """One account with OpenAI's SDK."""

    def __init__(self, farebox: Installation, provider: ScriptedProvider, name: str) -> None:
        self._farebox, self._provider, self.name = farebox, provider, name
        key = farebox.account(name, str(CREDITS))
        self.sdk = openai.OpenAI(base_url=f"{farebox.url}/v1", api_key=key, max_retries=0)
        self.plain = httpx.Client(base_url=farebox.url, headers={"authorization": f"Bearer {key}"})
        self._records = 0
        provider.scripts["media"].clear()  # what a test that failed has left behind

    def answers(self, body: Any, content_type: str = "application/json") -> None:
        """What the provider says next."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._provider.scripts["media"].append(Answer(body=raw, headers={"content-type": content_type}))

    @property
    def asked(self) -> Asked:
        """What the provider was asked last."""
        return self._provider.asked[-1]

    def record(self) -> dict[str, Any]:
        """The usage record of the call that was made last."""
        self._records += 1
        return self._farebox.usage(self.name, self._records)[0]

    def close(self) -> None:
        self.sdk.close()
        self.plain.close()


@pytest.fixture
def caller(farebox: Installation, provider: ScriptedProvider, request: pytest.FixtureRequest) -> Iterator[Caller]:
    made = Caller(farebox, provider, request.node.name)
    yield made
    made.close()
    balance = farebox.balance(made.name)
    assert balance["held"] == 0
    assert farebox.audit()["ok"]


def test_speech_is_billed_by_the_character(caller: Caller) -> None:
    caller.answers(b"\xff\xf3\x00sound" * 1000, "audio/mpeg")
    with caller.sdk.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input="héllo") as spoken:
        assert spoken.read() == b"\xff\xf3\x00sound" * 1000
    record = caller.record()
    assert (record["usage"], record["settlement_basis"]) == ({"input_characters": 5}, "reported")
    assert record["charge_microcredits"] == 5 * 15_000
    assert (record["input_tokens"], record["path"], record["outcome"]) == (0, "/v1/audio/speech", "completed")


def test_speech_of_a_model_by_the_token_is_charged_at_its_hold_unless_it_tells(caller: Caller) -> None:
    caller.answers(b"sound", "audio/mpeg")
    assert caller.sdk.audio.speech.create(model="gpt-tts", voice="alloy", input="hello").read() == b"sound"
    record = caller.record()
    assert record["settlement_basis"] == "hold"
    assert record["charge_microcredits"] == record["hold_microcredits"] > 0
    usage = {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}
    whole = event("speech.audio.delta", audio="UklGRg==") + event("speech.audio.done", usage=usage)
    caller.answers(whole, "text/event-stream")
    told = caller.sdk.audio.speech.create(model="gpt-tts", voice="alloy", input="hello", stream_format="sse")
    assert told.read() == whole
    record = caller.record()
    assert record["settlement_basis"] == "reported"
    assert record["charge_microcredits"] == 14 * 1000 + 101 * 12_000


def test_a_recording_is_billed_by_the_second_or_the_token(caller: Caller) -> None:
    recording = sound(7)
    caller.answers({"text": "hello", "usage": {"type": "duration", "seconds": 7}})
    heard = caller.sdk.audio.transcriptions.create(model="whisper-1", file=("a.wav", recording))
    assert heard.text == "hello"
    assert recording in caller.asked.body
    assert caller.asked.headers["content-type"].startswith("multipart/form-data; boundary=")
    record = caller.record()
    assert (record["usage"], record["charge_microcredits"]) == ({"input_seconds": 7}, 7 * 100_000)
    details = {"audio_tokens": 70, "text_tokens": 5}
    usage = {
        "type": "tokens",
        "input_tokens": 75,
        "input_token_details": details,
        "output_tokens": 9,
        "total_tokens": 84,
    }
    done = event("transcript.text.delta", delta="hi") + event("transcript.text.done", text="hi", usage=usage)
    caller.answers(done, "text/event-stream")
    stream = caller.sdk.audio.transcriptions.create(model="gpt-transcribe", file=("a.wav", recording), stream=True)
    assert [one.type for one in stream] == ["transcript.text.delta", "transcript.text.done"]
    record = caller.record()
    assert record["usage"] == {"input": 5, "input_audio": 70, "output": 9}
    assert record["charge_microcredits"] == 5 * 2000 + 70 * 6000 + 9 * 10_000
    assert record["stream"]


def test_a_transcript_as_text_is_charged_for_the_seconds_of_its_file(caller: Caller) -> None:
    caller.answers(b"hello\n", "text/plain; charset=utf-8")
    fields, file = {"model": "whisper-1", "response_format": "text"}, {"file": ("a.wav", sound(7))}
    heard = caller.plain.post("/v1/audio/translations", data=fields, files=file)
    assert (heard.status_code, heard.text) == (200, "hello\n")
    record = caller.record()
    assert record["settlement_basis"] == "hold"
    assert record["charge_microcredits"] == 8 * 100_000  # 7 seconds and the header of the file


def test_images_are_billed_by_their_tokens_or_one_by_one(caller: Caller) -> None:
    picture = base64.b64encode(b"png" * 1000).decode()
    usage = {
        "input_tokens": 50,
        "input_tokens_details": {"image_tokens": 40, "text_tokens": 10},
        "output_tokens": 1056,
        "total_tokens": 1106,
    }
    caller.answers({"created": 1, "data": [{"b64_json": picture}], "usage": usage})
    made = caller.sdk.images.edit(
        model="gpt-image-1", image=("a.png", b"\x89PNG" + b"\x00" * 200_000), prompt="a hat", n=1
    )
    assert made.data is not None
    assert made.data[0].b64_json == picture
    assert b'filename="a.png"' in caller.asked.body
    record = caller.record()
    assert record["usage"] == {"input": 10, "input_image": 40, "output": 0, "output_image": 1056}
    assert record["charge_microcredits"] == 10 * 5000 + 40 * 10_000 + 1056 * 40_000
    caller.answers({"created": 1, "data": [{"url": "https://example.com/1"}, {"url": "https://example.com/2"}]})
    caller.sdk.images.generate(model="dall-e-3", prompt="a cat", n=2)
    record = caller.record()
    assert (record["usage"], record["charge_microcredits"]) == ({"output_images": 2}, 2 * 40 * MICROCREDITS)
    partial = event("image_generation.partial_image", b64_json=picture, partial_image_index=0)
    finished = event("image_generation.completed", b64_json=picture, usage=usage)
    caller.answers(partial + finished, "text/event-stream")
    stream = caller.sdk.images.generate(model="gpt-image-1", prompt="a cat", stream=True, partial_images=1)
    assert [one.type for one in stream] == ["image_generation.partial_image", "image_generation.completed"]
    assert caller.record()["usage"]["output_image"] == 1056


def test_embeddings_completions_and_reranking(caller: Caller) -> None:
    vector = base64.b64encode(b"\x00\x00\x80?" * 8).decode()
    used = {"prompt_tokens": 3, "total_tokens": 3}
    caller.answers(
        {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": vector}], "usage": used}
    )
    made = caller.sdk.embeddings.create(model="text-embedding-3-small", input=[[1, 2, 3]])
    assert made.data[0].embedding == [1.0] * 8
    record = caller.record()
    assert (record["usage"], record["charge_microcredits"]) == ({"input": 3}, 60)
    choice = {"text": "hi", "index": 0, "finish_reason": "stop", "logprobs": None}
    used = {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}
    caller.answers(
        {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice], "usage": used}
    )
    assert caller.sdk.completions.create(model="gpt-instruct", prompt=["a", "b"], best_of=2).choices[0].text == "hi"
    assert caller.record()["charge_microcredits"] == 4 * 1000 + 2 * 2000
    caller.answers({"results": [{"index": 0, "relevance_score": 0.9}], "meta": {"billed_units": {"search_units": 1}}})
    request = {"model": "rerank-1", "query": "q", "documents": ["a", "b"]}
    assert caller.plain.post("/v1/rerank", json=request).status_code == 200
    record = caller.record()
    assert (record["usage"], record["charge_microcredits"]) == ({"search_units": 1}, 2 * MICROCREDITS)


def test_moderations_are_free(caller: Caller) -> None:
    caller.answers({"id": "modr-1", "model": "omni-moderation-latest", "results": []})
    assert caller.sdk.moderations.create(input="text").id == "modr-1"
    record = caller.record()
    assert (record["charge_microcredits"], record["settlement_basis"]) == (0, "none")
    with pytest.raises(openai.BadRequestError, match="free of charge"):
        caller.sdk.moderations.create(model="gpt-instruct", input="text")


def test_what_could_not_be_metered_is_refused_before_it_is_sent(caller: Caller, provider: ScriptedProvider) -> None:
    before = len(provider.asked)
    with pytest.raises(openai.BadRequestError):
        caller.sdk.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"x"), extra_body={"url": "https://x"})
    twice = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    file = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--x--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = caller.plain.post("/v1/audio/transcriptions", content=twice + twice + file, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "model"
    with pytest.raises(openai.APIStatusError) as caught:
        caller.sdk.images.generate(model="tts-1", prompt="a cat")
    assert caught.value.status_code == 402
    assert caught.value.code == "model_not_priced"
    assert len(provider.asked) == before
