"""Line charts as an SVG path and the places of their labels: the page's template puts them together.

Paths live in a box of 1000 by 1000 that is stretched to whatever the screen gives; labels are text beside it, which is
not stretched and stays readable on a phone. Places are percents from the left and from the bottom.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

BOX = 1000
MAX_DOTS = 40
"""A line of more points than this is drawn without a dot on each."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True)
class Axis:
    """The values from `low` to `high`."""

    low: float
    high: float

    def percent(self, value: float) -> float:
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    def ticks(self, count: int) -> list[Tick]:
        """At least `count` round values."""
        step = nice_step(self.high - self.low, count)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [Tick(self.percent(i * step), f"{i * step:,.10g}") for i in range(first, last + 1)]


@dataclass(frozen=True)
class Line:
    name: str
    path: str
    dots: list[Point]


@dataclass(frozen=True)
class Chart:
    x_axis: Axis
    y_axis: Axis
    lines: list[Line]

    @property
    def x_ticks(self) -> list[Tick]:
        return self.x_axis.ticks(4)

    @property
    def y_ticks(self) -> list[Tick]:
        return self.y_axis.ticks(4)


def line_chart(series: Mapping[str, Sequence[Point]]) -> Chart | None:
    """A chart of every series by name. Points that are no finite numbers are left out; None if none is left."""
    finite = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in series.items()}
    finite = {name: points for name, points in finite.items() if points}
    if not finite:
        return None
    xs, ys = zip(*(point for points in finite.values() for point in points), strict=True)
    x_axis = Axis(min(0.0, *xs), max(1.0, *xs))
    y_axis = _with_air(min(ys), max(ys))
    lines = []
    for name, points in finite.items():
        dots = [(x_axis.percent(x), y_axis.percent(y)) for x, y in points]
        lines.append(Line(name, _path(dots), dots if len(dots) <= MAX_DOTS else []))
    return Chart(x_axis, y_axis, lines)


def nice_step(span: float, count: int) -> float:
    """The largest of 1, 2, 2.5 and 5 times a power of ten of which at least `count` fit into `span` > 0."""
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    return max(step * power for step in (1, 2, 2.5, 5) if step * power <= raw * (1 + 1e-9))


def _with_air(low: float, high: float) -> Axis:
    """A little room above and below; some size where all values are the same; nothing below 0 for what never is."""
    air = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return Axis(max(0.0, low - air) if low >= 0 else low - air, high + air)


def _path(dots: Sequence[Point]) -> str:
    return "M" + " L".join(f"{x / 100 * BOX:.1f},{(1 - y / 100) * BOX:.1f}" for x, y in dots)
