import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.usage import Usage
from proxy.providers.gemini_usage import Figures, decode_usage, read_embedding, read_figures
from proxy.providers.usage_reading import Unbelievable

HOSTILE = ["-1", "1.5", '"7"', "NaN", "true", "[]", "{}", "1e3", "9" * 5000, "1000000001"]


def figures(made: str | None = None, **reported: Any) -> Figures:
    return read_figures(decode_usage(msgspec.Raw(json.dumps(reported).encode())), made)


def shares(**tokens: int) -> list[dict[str, Any]]:
    return [{"modality": name, "tokenCount": count} for name, count in tokens.items()]


def test_prompt_tools_candidates_and_thoughts_stand_beside_each_other() -> None:
    read = figures(
        promptTokenCount=100,
        toolUsePromptTokenCount=30,
        cachedContentTokenCount=40,
        candidatesTokenCount=7,
        thoughtsTokenCount=5,
        totalTokenCount=142,
    )
    assert read == ({"input": 90, "cache_read": 40}, {"output": 7, "reasoning": 5})


def test_each_modality_has_its_counter() -> None:
    read = figures(
        promptTokenCount=1000,
        promptTokensDetails=shares(TEXT=100, AUDIO=200, IMAGE=300, DOCUMENT=50, VIDEO=350),
        candidatesTokenCount=60,
        candidatesTokensDetails=shares(TEXT=10, IMAGE=20, AUDIO=30),
    )
    assert read.input == {"input_audio": 200, "input_video": 350, "input_image": 350, "input": 100}
    assert read.output == {"output": 10, "output_image": 20, "output_audio": 30}


def test_cached_modalities_leave_their_counters() -> None:
    read = figures(
        promptTokenCount=1000,
        promptTokensDetails=shares(TEXT=100, AUDIO=400, VIDEO=500),
        cachedContentTokenCount=600,
        cacheTokensDetails=shares(TEXT=50, AUDIO=150, VIDEO=400),
        candidatesTokenCount=0,
    )
    assert read.input == {
        "input_audio": 250,
        "input_video": 100,
        "input": 50,
        "cache_read": 450,
        "cache_read_audio": 150,
    }


def test_where_nobody_says_what_was_cached_the_dearer_reading_is_taken() -> None:
    read = figures(
        promptTokenCount=100, promptTokensDetails=shares(AUDIO=80), cachedContentTokenCount=50, candidatesTokenCount=1
    )
    assert read.input == {"input_audio": 50, "input": 0, "cache_read": 20, "cache_read_audio": 30}


def test_an_explicit_zero_is_a_zero() -> None:
    read = figures(promptTokenCount=3, cachedContentTokenCount=0, candidatesTokenCount=0, thoughtsTokenCount=0)
    assert read == ({"input": 3, "cache_read": 0}, {"output": 0, "reasoning": 0})


def test_a_figure_that_is_left_out_follows_from_the_total() -> None:
    assert figures(promptTokenCount=3, totalTokenCount=3).output == {"output": 0}
    assert figures(promptTokenCount=3, thoughtsTokenCount=4, totalTokenCount=9).output == {"output": 2, "reasoning": 4}
    assert figures(promptTokenCount=3, candidatesTokenCount=4, totalTokenCount=9).output == {
        "output": 4,
        "reasoning": 2,
    }


def test_what_is_not_told_is_unknown() -> None:
    assert figures(promptTokenCount=3) == ({"input": 3}, None)
    assert figures(candidatesTokenCount=3, totalTokenCount=10) == (None, {"output": 3})
    assert figures() == (None, None)


def test_media_that_no_list_names_are_not_charged_as_text() -> None:
    assert figures("image", promptTokenCount=1, candidatesTokenCount=1290).output == {"output_image": 1290, "output": 0}
    told = figures("image", promptTokenCount=1, candidatesTokenCount=1300, candidatesTokensDetails=shares(TEXT=10))
    assert told.output == {"output_image": 1290, "output": 10}
    listed = figures("audio", promptTokenCount=1, candidatesTokenCount=9, candidatesTokensDetails=shares(AUDIO=4))
    assert listed.output == {"output_audio": 4, "output": 5}


@pytest.mark.parametrize(
    "reported",
    [
        {"promptTokenCount": 10, "cachedContentTokenCount": 11},
        {"promptTokenCount": 10, "promptTokensDetails": shares(AUDIO=11)},
        {"promptTokenCount": 10, "cachedContentTokenCount": 5, "cacheTokensDetails": shares(AUDIO=6)},
        {"promptTokenCount": 1, "candidatesTokenCount": 5, "candidatesTokensDetails": shares(IMAGE=6)},
        {"promptTokenCount": 9, "totalTokenCount": 8},
    ],
)
def test_a_part_larger_than_its_whole_is_not_believed(reported: dict[str, Any]) -> None:
    with pytest.raises(Unbelievable):
        figures(**reported)


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    "name",
    ["promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "cachedContentTokenCount", "totalTokenCount"],
)
def test_hostile_figures_are_not_believed(name: str, value: str) -> None:
    with pytest.raises(Unbelievable):
        decode_usage(msgspec.Raw(f'{{"{name}":{value}}}'.encode()))
    with pytest.raises(Unbelievable):
        decode_usage(msgspec.Raw(f'{{"promptTokensDetails":[{{"modality":"AUDIO","tokenCount":{value}}}]}}'.encode()))


@pytest.mark.parametrize(
    ("reported", "tier"),
    [
        ({"serviceTier": "standard"}, "standard"),
        ({"serviceTier": "PRIORITY"}, "priority"),
        ({"trafficType": "ON_DEMAND"}, "standard"),
        ({"trafficType": "ON_DEMAND_FLEX"}, "flex"),
        ({"trafficType": "ON_DEMAND_PRIORITY"}, "priority"),
        ({"trafficType": "NEW"}, None),
        ({}, None),
    ],
)
def test_service_tiers_have_one_name_for_both_apis(reported: dict[str, Any], tier: str | None) -> None:
    assert decode_usage(msgspec.Raw(json.dumps(reported).encode())).tier == tier


def test_an_embedding_has_no_output() -> None:
    raw = json.dumps({"promptTokenCount": 11, "promptTokensDetails": shares(TEXT=4, VIDEO=7), "totalTokenCount": 11})
    assert read_embedding(decode_usage(msgspec.Raw(raw.encode()))) == Usage({"input": 4, "input_video": 7})


KINDS = st.sampled_from(["TEXT", "AUDIO", "IMAGE", "VIDEO", "DOCUMENT", "SOMETHING"])
COUNTS = st.integers(min_value=0, max_value=100)
LISTS = st.lists(st.fixed_dictionaries({"modality": KINDS, "tokenCount": COUNTS}), max_size=3)


@given(COUNTS, COUNTS, COUNTS | st.none(), st.tuples(LISTS, LISTS, LISTS))
def test_counters_are_disjoint_and_sum_up(
    prompt: int, tools: int, cached: int | None, lists: tuple[Any, Any, Any]
) -> None:
    reported = {
        "promptTokenCount": prompt,
        "toolUsePromptTokenCount": tools,
        "candidatesTokenCount": 1,
        "promptTokensDetails": lists[0],
        "cacheTokensDetails": lists[1],
        "toolUsePromptTokensDetails": lists[2],
    } | ({} if cached is None else {"cachedContentTokenCount": cached})
    try:
        counters = figures(**reported).input
    except Unbelievable:
        return
    assert counters is not None
    assert sum(counters.values()) == prompt + tools
    assert all(count >= 0 for count in counters.values())
    assert counters.get("cache_read", 0) + counters.get("cache_read_audio", 0) == (cached or 0)
