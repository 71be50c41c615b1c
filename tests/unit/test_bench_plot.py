"""The picture of a run: a bar a subject, the cheapest first, lengths by the logarithm."""

import math
import re
from xml.etree import ElementTree as ET

import pytest

from bench.figures import Round
from bench.plot import bars, draw


def a_round(**us: float) -> Round:
    return Round({(name, "small"): {"cpu_us_a_call": value} for name, value in us.items()})


def lengths(picture: str) -> list[float]:
    return [float(length) for length in re.findall(r"<rect x='150' y='\d+' width='([\d.]+)'", picture)]


def test_bars_are_medians_and_factors_are_taken_within_a_round() -> None:
    rounds = [a_round(nginx=10, farebox=40), a_round(nginx=20, farebox=100), a_round(nginx=30, farebox=90)]
    found = bars(rounds, ["farebox", "nginx", "direct"])
    assert [(bar.subject, bar.us, bar.ratio) for bar in found] == [("nginx", 20, 1), ("farebox", 90, 4)]


def test_a_bar_s_length_is_its_logarithm() -> None:
    picture = draw([a_round(nginx=20, farebox=200, litellm=9_000)], ["nginx", "farebox", "litellm"])
    assert picture
    short, middle, long = lengths(picture)
    whole = 430 / 3  # from 10 to 10,000
    assert middle - short == pytest.approx(whole, abs=0.2)
    assert long - middle == pytest.approx(whole * math.log10(45), abs=0.2)


def test_the_picture_is_xml_that_tells_every_figure() -> None:
    picture = draw([a_round(nginx=20, farebox=85)], ["nginx", "farebox"])
    assert picture
    text = " ".join(ET.fromstring(picture).itertext())
    assert "farebox" in text
    assert "85 us" in text
    assert "4.2 x nginx" in text


def test_one_subject_is_no_picture() -> None:
    assert draw([a_round(nginx=20)], ["nginx", "farebox"]) is None
    assert draw([], []) is None


def test_workers_with_a_part_of_a_core_have_no_bar() -> None:
    name = "farebox, 2 workers"
    one = Round({(subject, "small"): {"cpu_us_a_call": 9.0} for subject in ("nginx", "farebox", name)})
    assert [bar.subject for bar in bars([one], ["nginx", "farebox", name])] == ["nginx", "farebox"]


def test_without_nginx_there_are_no_factors() -> None:
    picture = draw([a_round(aiohttp=300, farebox=85)], ["aiohttp", "farebox"])
    assert picture
    assert "nginx" not in picture
