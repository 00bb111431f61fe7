"""The report's pictures: bars, histograms and stacked bars as inline SVG.

They are drawn by hand, not by matplotlib: the same numbers give the same bytes on every machine whatever fonts and
versions it has, colours follow the page into dark mode and onto paper, text stays text (to read aloud, to copy), and a
picture takes a few hundred bytes. Horizontal places are percentages and there is no viewBox, so a picture fills
whatever width there is while its text keeps its size. Colours are classes of `report.css`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmjp_jax.corpus.pipeline.report_elements import Markup, element
from llmjp_jax.corpus.pipeline.report_quantities import count, counted, share
from llmjp_jax.corpus.pipeline.statistics import SCRIPTS

_PLOT_HEIGHT = 180  # of a histogram, in pixels
_AXIS_HEIGHT = 26
_THINNEST = 1.5  # a bin with one document is seen beside one with a million
_LABEL_AT = 13  # per cent of a bar that its label needs


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.2f}%"


def bar(segments: Sequence[tuple[str, int]], whole: int) -> Markup:
    """Segments (class, amount) from left to right; `whole` is the amount that fills the width.

    It is decoration: the numbers stand beside it as text.
    """
    parts, start = [], 0
    for kind, amount in segments:
        if amount > 0:
            place = {"x": _percent(start / whole), "width": _percent(amount / whole)}
            parts.append(element("rect", class_=kind, y="0", height="100%", **place))
            start += amount
    return element("svg", *parts, class_="bar", aria_hidden="true")


def bin_name(edges: Sequence[int], place: int) -> str:
    """The lengths that a bin holds: `512–1,023`, `3`, or `65,536 or more` for one without an upper edge."""
    low = edges[place]
    if place + 1 == len(edges):
        return f"{count(low)} or more"
    high = edges[place + 1] - 1
    return count(low) if high <= low else f"{count(low)}–{count(high)}"


def occupied(before: Sequence[int], after: Sequence[int]) -> range:
    """The bins from the first to the last that holds a document."""
    full = [place for place, pair in enumerate(zip(before, after, strict=True)) if any(pair)]
    return range(full[0], full[-1] + 1) if full else range(0)


def length_histogram(edges: Sequence[int], before: Sequence[int], after: Sequence[int]) -> Markup:
    """Documents by length: a wide bar before, a narrow one in front of it after the pipeline.

    Args:
      edges: lower edges of the bins in characters, and the upper edge of the last unless it is open.
      before, after: documents in each bin; not all of them zero.
    """
    bins = occupied(before, after)
    levels = _levels(max(*before, *after))
    top = levels[-1]
    parts = [_level(amount, top) for amount in levels]
    for column, place in enumerate(bins):
        title = f"{bin_name(edges, place)} characters: {count(before[place])} before, {count(after[place])} after"
        parts.append(
            element(
                "g",
                element("title", title),
                element("rect", class_="hover", height=str(_PLOT_HEIGHT), **_span(column, bins, 1)),
                _column("before", before[place] / top, _span(column, bins, 0.86)),
                _column("after", after[place] / top, _span(column, bins, 0.46)),
            )
        )
    every = -(-len(bins) // 5)
    for column in range(0, len(bins) + 1, every):
        if bins.start + column < len(edges):
            parts.append(_tick(column / len(bins), count(edges[bins.start + column])))
    before_in, after_in = (counted(sum(counts), "document") for counts in (before, after))
    return element(
        "svg",
        *parts,
        class_="histogram",
        role="img",
        aria_label=f"Histogram of lengths in characters: {before_in} before, {after_in} after; "
        "the numbers are in the table below",
        height=str(_PLOT_HEIGHT + _AXIS_HEIGHT),
    )


def gutter(before: Sequence[int], after: Sequence[int]) -> int:
    """Pixels to the left of a histogram that the labels of its levels need."""
    return 8 * len(count(_levels(max(*before, *after))[-1])) + 12


def _levels(largest: int) -> range:
    """Heights with a line: multiples of 1, 2 or 5 times a power of ten, at most six, the last no less than largest."""
    power = 1
    while True:
        for step in (power, 2 * power, 5 * power):
            if largest <= 5 * step:
                return range(0, -(-largest // step) * step + 1, step)
        power *= 10


def _span(column: int, bins: range, fraction: float) -> dict[str, str]:
    """Where a bar lies that takes a fraction of its column's width."""
    width = 1 / len(bins)
    return {
        "x": _percent((column + (1 - fraction) / 2) * width),
        "width": _percent(fraction * width),
    }


def _column(kind: str, fraction: float, place: Mapping[str, str]) -> Markup:
    height = max(fraction * _PLOT_HEIGHT, _THINNEST) if fraction else 0.0
    return element(
        "rect", class_=kind, y=f"{_PLOT_HEIGHT - height:.2f}", height=f"{height:.2f}", **place
    )


def _level(amount: int, top: int) -> Markup:
    y = f"{_PLOT_HEIGHT * (1 - amount / top):.1f}"
    line = element("line", x1="0", x2="100%", y1=y, y2=y)
    return Markup(line + element("text", count(amount), x="-8", y=y, dy="0.35em", class_="level"))


def _tick(fraction: float, label: str) -> Markup:
    x = _percent(fraction)
    line = element("line", x1=x, x2=x, y1=str(_PLOT_HEIGHT), y2=str(_PLOT_HEIGHT + 5))
    return Markup(
        line + element("text", label, x=x, y=str(_PLOT_HEIGHT + 21), text_anchor="middle")
    )


def script_bar(characters: Mapping[str, int], name: str) -> Markup:
    """One bar of all characters, a segment for each of `SCRIPTS`; wide segments carry their share."""
    total = sum(characters.values())
    parts, start = [], 0
    for script in SCRIPTS:
        amount = characters.get(script, 0)
        if not amount:
            continue
        x, width = start / total, amount / total
        parts.append(
            element(
                "g",
                element("title", f"{script}: {share(amount, total)}"),
                element("rect", class_="mark", x=_percent(x), width=_percent(width), height="100%"),
                *_segment_label(amount, total, x + width / 2),
                class_=f"script-{script}",
            )
        )
        start += amount
    said = ", ".join(f"{script} {share(characters.get(script, 0), total)}" for script in SCRIPTS)
    return element(
        "svg", *parts, class_="scripts", role="img", aria_label=f"{name}: {said}", height="34"
    )


def _segment_label(amount: int, total: int, middle: float) -> list[Markup]:
    if 100 * amount < _LABEL_AT * total:
        return []
    place = {"x": _percent(middle), "y": "50%", "dy": "0.35em", "text_anchor": "middle"}
    return [element("text", share(amount, total), **place)]


def swatch(kind: str) -> Markup:
    """A small square in a picture's colour, for its legend."""
    return element(
        "svg",
        element("rect", class_="mark", width="100%", height="100%"),
        class_=f"swatch {kind}",
        aria_hidden="true",
    )
