"""Intervals and p-values against published numbers, and what must hold for any counts."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retort_evaluate.statistics import PairedTest, wilson_interval

counts = st.integers(min_value=1, max_value=20_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("passed", "total", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17:857, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_is_the_published_one(passed: int, total: int, low: float, high: float) -> None:
    assert wilson_interval(passed, total) == pytest.approx((low, high), abs=5e-5)


def test_20_000_rows_at_90_percent_are_known_to_within_half_a_point() -> None:
    low, high = wilson_interval(18_000, 20_000)
    assert high - low == pytest.approx(2 * 0.0042, abs=1e-4)


@given(counts)
def test_the_interval_holds_the_rate_and_mirrors(counts: tuple[int, int]) -> None:
    passed, total = counts
    low, high = wilson_interval(passed, total)
    assert 0 <= low <= passed / total <= high <= 1
    mirrored = wilson_interval(total - passed, total)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize(("passed", "total"), [(0, 0), (3, 2), (-1, 5)])
def test_no_rate_has_no_interval(passed: int, total: int) -> None:
    with pytest.raises(ValueError, match="is no rate"):
        wilson_interval(passed, total)


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [
        # Fagerland, Lydersen and Laake (2013): airway hyper-responsiveness before and after transplantation.
        (7, 1, 0.0391),
        (1, 7, 0.0391),
        (0, 0, 1.0),
        (4, 4, 1.0),
        (0, 1, 0.5),
        (5, 0, 1 / 32),
    ],
)
def test_mcnemar_mid_p_is_the_published_one(gained: int, lost: int, p: float) -> None:
    assert PairedTest(gained, lost).p_value == pytest.approx(p, abs=5e-5)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mid_p_is_the_sum_of_its_definition(gained: int, lost: int) -> None:
    n, k = gained + lost, min(gained, lost)
    chance = [math.comb(n, i) / 2**n for i in range(n + 1)]
    assert PairedTest(gained, lost).p_value == pytest.approx(2 * sum(chance[: k + 1]) - chance[k], rel=1e-9)
    assert PairedTest(lost, gained).p_value == PairedTest(gained, lost).p_value


def test_thousands_of_flips_overflow_nothing() -> None:
    assert PairedTest(9_000, 400).p_value == 0.0
    assert PairedTest(5_100, 5_000).p_value == pytest.approx(0.3197, abs=5e-4)
