"""Lines stay inside their box, ticks are round, and a run that diverged still has a chart."""

import math
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from retort_evaluate.charts import BOX, line_chart, nice_step

values = st.floats(min_value=-1e6, max_value=1e6, allow_subnormal=False)
series = st.lists(st.tuples(st.integers(0, 10_000).map(float), values), min_size=1, max_size=60)


@given(series, series)
def test_every_point_lies_inside_the_box(one: list[tuple[float, float]], other: list[tuple[float, float]]) -> None:
    ys = [y for _, y in one + other]
    assume(max(ys) == min(ys) or max(ys) - min(ys) > 1e-6)
    chart = line_chart({"one": one, "other": other})
    assert chart is not None
    assert [line.name for line in chart.lines] == ["one", "other"]
    for line, points in zip(chart.lines, (one, other), strict=True):
        numbers = [float(n) for n in re.findall(r"-?[\d.]+", line.path)]
        assert len(numbers) == 2 * len(points)
        assert all(0 <= n <= BOX for n in numbers)
        assert len(line.dots) == (len(points) if len(points) <= 40 else 0)
    for tick in [*chart.x_ticks, *chart.y_ticks]:
        assert 0 <= tick.at <= 100
    assert len(chart.y_ticks) >= 4


def test_ticks_are_round_and_placed_where_they_say() -> None:
    chart = line_chart({"loss": [(0, 0.0), (60, 2.0)]})
    assert chart is not None
    assert [(t.at, t.label) for t in chart.x_ticks] == [
        (0, "0"), (16.67, "10"), (33.33, "20"), (50, "30"), (66.67, "40"), (83.33, "50"), (100, "60"),
    ]  # fmt: skip
    assert [t.label for t in chart.y_ticks] == ["0", "0.5", "1", "1.5", "2"]


def test_points_that_are_no_numbers_are_left_out() -> None:
    chart = line_chart({"loss": [(1, 2.0), (2, math.nan), (3, math.inf), (4, 1.0)], "nothing": []})
    assert chart is not None
    assert [(line.name, len(line.dots)) for line in chart.lines] == [("loss", 2)]
    assert line_chart({"loss": [(1, math.nan)]}) is None


@pytest.mark.parametrize(("span", "step"), [(1, 0.25), (10, 2.5), (60, 10), (0.07, 0.01), (8, 2), (2.2, 0.5), (4, 1)])
def test_steps_are_round(span: float, step: float) -> None:
    assert nice_step(span, 4) == pytest.approx(step)
