import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.errors import InvalidRequest
from proxy.providers.dialect import SSE, Ask
from proxy.providers.encodings import count_now
from proxy.providers.openai_completions import Completions
from tests.support.answers import event, plain, play, state, streamed

COMPLETIONS = Completions()
USED = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


def body(**members: Any) -> bytes:
    return json.dumps({"model": "gpt-3.5-turbo-instruct", "prompt": "hello", **members}).encode()


def choice(text: str, finish_reason: str | None = None) -> dict[str, Any]:
    return {"text": text, "index": 0, "logprobs": None, "finish_reason": finish_reason}


def refused(request: bytes) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        COMPLETIONS.read(request)
    return caught.value.param


@pytest.mark.parametrize(
    ("prompt", "count", "tokens"),
    [
        ("hello", 1, 1),
        (["hello", "there", ""], 3, 2),
        ([1, 2, 3, 4], 1, 4),
        ([[1, 2], [3]], 2, 3),
        (["hello", [5, 6]], 2, 3),
        (None, 1, 0),
    ],
)
def test_every_prompt_is_answered_and_token_ids_count_as_tokens(prompt: Any, count: int, tokens: int) -> None:
    ask = COMPLETIONS.read(body(prompt=prompt, max_tokens=7))
    assert (ask.choices, ask.output_limit, ask.media_parts) == (count, 7, 0)
    counted = count_now(COMPLETIONS.prompt_text(body(prompt=prompt)), "gpt-3.5-turbo-instruct")
    assert tokens <= counted <= tokens + count  # line ends between the prompts


def test_every_candidate_is_held_for() -> None:
    assert COMPLETIONS.read(body(n=3)).choices == 3
    assert COMPLETIONS.read(body(n=3, best_of=5)).choices == 5
    assert COMPLETIONS.read(body(best_of=5, prompt=["a", "b"])).choices == 10
    assert COMPLETIONS.read(body(n=None, best_of=None)).choices == 1


@pytest.mark.parametrize("prompt", [5, {}, [], [1, "a"], [1, [2]], [None], [1.5], [[1.5]], True, [["a"]]])
def test_prompts_of_no_known_form_are_refused(prompt: Any) -> None:
    assert refused(body(prompt=prompt)) == "prompt"


def test_counts_and_models_are_read_strictly() -> None:
    assert refused(body(best_of=0)) == "best_of"
    assert refused(body(best_of=129)) == "best_of"
    assert refused(body(n="2")) == "n"
    assert refused(body(models=[5])) == "models"
    assert COMPLETIONS.read(body(models=["another"])).others == ("another",)
    assert refused(body()[:-1] + b',"best_of":2,"best_of":9}') == "best_of"
    assert refused(b'{"prompt":"x"}') == "model"
    assert refused(body(prompt=["x"] * 10_001)) == "prompt"


def test_a_plain_answer_has_chats_usage() -> None:
    meter = plain(COMPLETIONS, {"choices": [choice("hi"), choice("there")], "usage": USED})
    assert meter.usage is not None
    assert meter.usage.counters == {"input": 5, "output": 3}
    assert (meter.output_text, meter.complete, meter.flag) == ("hithere", True, None)


def test_a_stream_is_asked_for_its_usage_which_is_taken_out_again() -> None:
    request = body(stream=True)
    ask = COMPLETIONS.read(request)
    assert json.loads(COMPLETIONS.outgoing(request, ask))["stream_options"] == {"include_usage": True}
    text, last = event(choices=[choice("hi")], usage=None), event(choices=[choice("", "stop")], usage=None)
    usage, done = event(choices=[], usage=USED), b"data: [DONE]\n\n"
    whole = text + last + usage + done
    for at in range(len(whole)):
        meter = COMPLETIONS.meter(ask, SSE)
        assert play(meter, whole[:at], whole[at:]) == text + last + done
        assert meter.usage is not None
        assert (meter.complete, meter.output_text) == (True, "hi")
    theirs = COMPLETIONS.read(body(stream=True, stream_options={"include_usage": True}))
    assert streamed(COMPLETIONS, whole, ask=theirs).usage is not None


def test_a_stream_is_complete_when_every_choice_of_every_prompt_is() -> None:
    ask = Ask(model="m", stream=True, usage_asked=True, choices=2)
    last = event(choices=[choice("", "stop")])
    assert not streamed(COMPLETIONS, last, ask=ask).complete
    assert streamed(COMPLETIONS, last, last, ask=ask).complete


PARTS = [
    event(choices=[choice("é")]),
    event(choices=[], usage=USED),
    b"data: [DONE]\r\n\r\n",
    b": x\n\n",
    b"\r",
    b"data: {",
]


@given(st.lists(st.sampled_from(PARTS)), st.lists(st.integers(0, 600), max_size=6))
def test_the_cuts_of_a_stream_change_nothing(parts: list[bytes], at: list[int]) -> None:
    whole = b"".join(parts)
    places = [0, *sorted({place for place in at if place < len(whole)}), len(whole)]
    for asked in (True, False):
        ask = Ask(model="m", stream=True, usage_asked=asked)
        once, cut = COMPLETIONS.meter(ask, SSE), COMPLETIONS.meter(ask, SSE)
        assert play(once, whole) == play(cut, *[whole[start:end] for start, end in pairwise(places)])
        assert state(once) == state(cut)
