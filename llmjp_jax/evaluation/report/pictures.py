"""The report's pictures: categories as a radar and as bars with their intervals, in inline SVG.

Colours are classes of `report.css` and follow the page into dark mode and onto paper. No picture needs its colours to be read: each
series has a key that is written out, on the radar a mark and a line of its own, and the paper's rows are dashed or hollow.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from llmjp_jax.corpus.pipeline.report_elements import Markup, element, join
from llmjp_jax.evaluation.report import words
from llmjp_jax.evaluation.report.bootstrap import Interval

MOST_ON_RADAR = 8
COLOURS = 8

_WIDTH, _HEIGHT, _RADIUS = 400, 340, 122
_MARK = 4.2


@dataclasses.dataclass(frozen=True)
class Series:
    """One line of a radar, one bar of each group.

    Attributes:
      key: what stands in its badge: a run's number, a row's name in the paper.
      name: in the legend.
      values: by axis; intervals: of those that have one.
      paper: a row of the paper, drawn dashed and hollow.
    """

    key: str
    name: str
    values: Mapping[str, float]
    intervals: Mapping[str, Interval]
    paper: bool = False


def top_of(series: Sequence[Series]) -> float:
    """Where a picture's scale ends: the least of 0.2, 0.4 ... 1 that holds all values and intervals, or a round number above."""
    largest = max(
        [value for one in series for value in one.values.values()]
        + [ends[1] for one in series for ends in one.intervals.values()],
        default=0.0,
    )
    step = 0.2 if largest <= 1 else 10 ** math.ceil(math.log10(largest) - 1)
    return round(max(1, math.ceil(largest / step - 1e-9)) * step, 6)


def radar(axes: Sequence[str], series: Sequence[Series]) -> Markup:
    """A polygon a series over the axes, of which there are three at least; each series has a value on each."""
    top = top_of(series)
    rings = 4 if top <= 0.4 or top > 1 else round(top / 0.2)
    parts = [_ring(axes, ring / rings, ring == rings) for ring in range(1, rings + 1)]
    parts += [element("line", x1="0", y1="0", **_end(_point(place, len(axes), 1)), class_="spoke") for place in range(len(axes))]  # fmt: skip
    parts += [
        element("text", words.score(top * ring / rings, 2), x="4", y=f"{-_RADIUS * ring / rings:.1f}", dy="-0.2em", class_="level")
        for ring in range(1, rings + 1)
    ]  # fmt: skip
    parts += [_axis(axis, place, len(axes)) for place, axis in enumerate(axes)]
    # The first run lies on top.
    for place in reversed(range(len(series))):
        parts.append(_polygon(axes, series[place], place, top))
    said = "; ".join(
        f"{one.name}: " + ", ".join(f"{axis} {words.score(one.values[axis], 3)}" for axis in axes)
        for one in series
    )
    return element(
        "svg", *parts, class_="radar", role="img", aria_label=f"Radar of the categories. {said}",
        viewBox=f"{-_WIDTH / 2:g} {-_HEIGHT / 2 - 4:g} {_WIDTH} {_HEIGHT}",
    )  # fmt: skip


def _point(place: int, axes: int, fraction: float) -> tuple[float, float]:
    angle = 2 * math.pi * place / axes - math.pi / 2
    return _RADIUS * fraction * math.cos(angle), _RADIUS * fraction * math.sin(angle)


def _end(point: tuple[float, float]) -> dict[str, str]:
    return {"x2": f"{point[0]:.1f}", "y2": f"{point[1]:.1f}"}


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _ring(axes: Sequence[str], fraction: float, outer: bool) -> Markup:
    points = _points([_point(place, len(axes), fraction) for place in range(len(axes))])
    return element("polygon", points=points, class_="ring outer" if outer else "ring")


def _axis(axis: str, place: int, axes: int) -> Markup:
    x, y = _point(place, axes, 1.1)
    anchor = "middle" if abs(x) < 12 else "start" if x > 0 else "end"
    rise = "0.35em" if abs(y) < 0.5 * _RADIUS else "0em" if y < 0 else "0.75em"
    return element(
        "g",
        element("title", words.CATEGORY_NAMES.get(axis, axis)),
        element(
            "text", axis, x=f"{x:.1f}", y=f"{y:.1f}", dy=rise, text_anchor=anchor, class_="axis"
        ),
    )


def _polygon(axes: Sequence[str], one: Series, place: int, top: float) -> Markup:
    points = [_point(k, len(axes), one.values[axis] / top) for k, axis in enumerate(axes)]
    marks = [
        join([_mark(place, x, y, f"{one.name}, {axis}: {words.score(one.values[axis], 3)}")])
        for (x, y), axis in zip(points, axes, strict=True)
    ]
    kind = f"{colour(place)} paper" if one.paper else colour(place)
    line = element("polygon", points=_points(points), class_="line", stroke_dasharray=_DASHES[place % COLOURS] if one.paper else None)  # fmt: skip
    return element("g", line, *marks, class_=kind)


_DASHES = ("7 4", "2 3", "9 3 2 3", "4 2", "12 4", "2 5", "6 2 2 2 2 2", "1 3")


def colour(place: int) -> str:
    """The class of a series' colour."""
    return f"series-{place % COLOURS + 1}"


def _mark(place: int, x: float, y: float, title: str) -> Markup:
    """A circle, square, triangle, diamond, cross ... of its own for each of eight series."""
    if place % COLOURS == 0:
        return element("circle", element("title", title), cx=f"{x:.1f}", cy=f"{y:.1f}", r=f"{_MARK}", class_="mark")  # fmt: skip
    corners, turn, inner = _SHAPES[place % COLOURS]
    points = []
    for corner in range(corners * (2 if inner else 1)):
        angle = turn + 2 * math.pi * corner / (corners * (2 if inner else 1))
        size = 1.3 * _MARK * (inner if inner and corner % 2 else 1)
        points.append((x + size * math.cos(angle), y + size * math.sin(angle)))
    return element("polygon", element("title", title), points=_points(points), class_="mark")


# Corners, the turn of the first, and how far in the points between them lie, for stars and crosses.
_SHAPES = {
    1: (4, math.pi / 4, 0), 2: (3, -math.pi / 2, 0), 3: (4, 0, 0), 4: (4, math.pi / 4, 0.35), 5: (3, math.pi / 2, 0),
    6: (5, -math.pi / 2, 0.45), 7: (6, 0, 0),
}  # fmt: skip


def legend(series: Sequence[Series], lines: bool = True) -> Markup:
    """Which key, colour and line is whose."""
    items = []
    for place, one in enumerate(series):
        dashes = _DASHES[place % COLOURS] if one.paper else None
        sample = element(
            "svg",
            element("line", x1="0", y1="8", x2="34", y2="8", class_="line", stroke_dasharray=dashes),
            _mark(place, 17, 8, one.name),
            class_="line-sample", viewBox="0 0 34 16", aria_hidden="true",
        )  # fmt: skip
        shown = [sample] if lines else []
        items.append(element("li", *shown, badge(one.key, place), element("span", one.name), class_=colour(place)))  # fmt: skip
    return element("ul", *items, class_="legend series")


def badge(key: str, place: int) -> Markup:
    """A series' key in its colour."""
    return element("span", key, class_=f"key {colour(place)}")


def bars(axes: Sequence[str], series: Sequence[Series]) -> Markup:
    """A group of bars for each axis, one a series, with its interval as a whisker; the numbers stand beside it."""
    top = top_of(series)
    groups = [_group(axis, series, top, scale=not place) for place, axis in enumerate(axes)]
    return element("ol", *groups, class_="scores")


def _scale(top: float) -> Markup:
    """The numbers that the grid's lines stand for."""
    ticks = [
        element("text", f"{top * part / 4:.2f}".rstrip("0").rstrip("."), x=f"{25 * part}%", y="9", text_anchor=("start", "middle", "middle", "middle", "end")[part])
        for part in range(5)
    ]  # fmt: skip
    return element("svg", *ticks, class_="scale", height="12", aria_hidden="true")


def _group(axis: str, series: Sequence[Series], top: float, scale: bool) -> Markup:
    rows = [element("span"), _scale(top), element("span")] if scale else []
    for place, one in enumerate(series):
        value, ends = one.values.get(axis), one.intervals.get(axis)
        rows += [badge(one.key, place), _bar(value, ends, top, place, one.paper)]
        rows.append(element("span", words.score(value, 3), element("small", words.interval(ends, 2)), class_="value"))  # fmt: skip
    name = words.CATEGORY_NAMES.get(axis, axis)
    said = [element("b", axis)] + ([element("small", name)] if name != axis else [])
    return element("li", element("span", *said, class_="name"), element("div", *rows, class_="rows"))  # fmt: skip


def _bar(value: float | None, ends: Interval | None, top: float, place: int, paper: bool) -> Markup:  # fmt: skip
    parts = [element("line", x1=f"{25 * k}%", x2=f"{25 * k}%", y1="0", y2="100%", class_="grid") for k in range(5)]  # fmt: skip
    if value is not None:
        width = f"{100 * max(0.0, value) / top:.2f}%"
        parts.append(element("rect", class_=f"mark {colour(place)}{' hollow' if paper else ''}", y="3", height="8", width=width))  # fmt: skip
    if ends is not None:
        low, high = (f"{100 * max(0.0, end) / top:.2f}%" for end in ends)
        for kind in ("whisker halo", "whisker"):
            parts.append(element("line", class_=kind, x1=low, x2=high, y1="7", y2="7"))
            parts += [element("line", class_=kind, x1=x, x2=x, y1="3.5", y2="10.5") for x in (low, high)]  # fmt: skip
    return element("svg", *parts, class_="score", height="14", aria_hidden="true")
