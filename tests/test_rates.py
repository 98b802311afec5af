"""``Rate``: how a rate is written, and what is no rate."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reinhardt_backends import Rate


@pytest.mark.parametrize(
    ("text", "limit", "period"),
    [
        ("100/min", 100, 60),
        ("10/s", 10, 1),
        ("1000/hour", 1000, 3600),
        ("1000/h", 1000, 3600),
        ("5/10s", 5, 10),
        ("3/500ms", 3, 0.5),
        ("2/day", 2, 86400),
        (" 7 / 2 Minutes ", 7, 120),
        ("1/m", 1, 60),
        ("1/second", 1, 1),
        ("10/second", 10, 1),
        ("5 per minute", 5, 60),
        ("5 Per 10 seconds", 5, 10),
        ("3/week", 3, 604800),
        ("3 per 2 weeks", 3, 1209600),
    ],
)
def test_a_rate_is_a_limit_and_a_period(text: str, limit: int, period: float) -> None:
    assert Rate.parse(text) == Rate(limit, period)


def test_a_rate_may_have_a_burst() -> None:
    assert Rate.parse("10/s burst 50") == Rate(10, 1, burst=50)
    assert Rate(10, 1).most == 10
    assert Rate(10, 1, burst=50).most == 50


def test_a_period_may_be_a_timedelta() -> None:
    assert Rate(10, timedelta(minutes=1)) == Rate(10, 60)


@pytest.mark.parametrize(
    "text",
    [
        "", "10", "/s", "10/", "10/fortnight", "s/10", "ten/s", "10 per s", "10/1.5s", "1_0/s", "-1/s", "10/-1s",
        "10/s/s", "10/s burst", "10/s\x00", "\u0661/s", "1e3/s", "9" * 200 + "/s", "1/" + "9" * 90 + "days",
        "0/s", "10/0s", "10/s burst 0", "1000000000000000/s", "1/1000000001s",
    ],
)  # fmt: skip
def test_what_is_not_a_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="rate"):
        Rate.parse(text)


@pytest.mark.parametrize("text", [None, 10, b"10/s", ["10/s"]])
def test_what_is_not_text_is_no_rate(text: Any) -> None:
    with pytest.raises(TypeError, match="a rate must be"):
        Rate.parse(text)


@pytest.mark.parametrize("limit", [0, -1, 10**15])
def test_a_limit_is_at_least_1(limit: int) -> None:
    with pytest.raises(ValueError, match="the limit"):
        Rate(limit, 1)
    with pytest.raises(ValueError, match="the burst"):
        Rate(1, 1, burst=limit)


@pytest.mark.parametrize("limit", ["10", 1.0, True, None])
def test_a_limit_is_an_int(limit: Any) -> None:
    with pytest.raises(TypeError, match="the limit"):
        Rate(limit, 1)


@pytest.mark.parametrize("period", [0, -1, float("nan"), float("inf"), 10**9 + 1, timedelta(0), timedelta(seconds=-1)])
def test_a_period_is_positive_and_bounded(period: Any) -> None:
    with pytest.raises(ValueError, match="the period of a rate"):
        Rate(1, period)


@pytest.mark.parametrize("period", ["60", True, None])
def test_a_period_is_seconds_or_a_timedelta(period: Any) -> None:
    with pytest.raises(TypeError, match="the period of a rate"):
        Rate(1, period)


RATES = st.builds(
    Rate,
    st.integers(1, 10**15 - 1),
    st.integers(1, 10**12).map(lambda milliseconds: timedelta(milliseconds=milliseconds)),
    burst=st.none() | st.integers(1, 10**15 - 1),
)


@given(RATES)
def test_what_a_rate_is_written_as_is_that_rate(rate: Rate) -> None:
    assert Rate.parse(str(rate)) == rate


@given(st.text() | st.from_regex(r"[0-9]{1,20}/[0-9]{0,20}[a-z]{0,6}"))
def test_any_text_is_a_rate_or_a_value_error(text: str) -> None:
    try:
        rate = Rate.parse(text)
    except ValueError:
        return
    assert Rate.parse(str(rate)) == rate


def test_rates_are_values() -> None:
    rate = Rate(10, 60, burst=20)
    assert pickle.loads(pickle.dumps(rate)) == copy.deepcopy(rate) == rate
    assert len({rate, Rate(10, 60, burst=20)}) == 1
    with pytest.raises(AttributeError):
        rate.limit = 11  # type: ignore[misc]
    assert [str(Rate.parse(text)) for text in ("100/60s", "5/10s", "1/1000ms", "1/1ms")] == [
        "100/min",
        "5/10s",
        "1/s",
        "1/1ms",
    ]
