"""The pictures: each measure by prefix length, by document frequency and by last step seen, the held-out text beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmjp_jax.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which the colour-blind can tell apart; marks and dashes tell the same.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKS = "osD^vPX"
_GROUPS = (
    ("trained", "rows trained on", "-", "#0072B2", "o"),
    ("held_out", "held out", "--", "#555555", "s"),
    ("held_out_known", "held out, yet in the training split", "-.", "#009E73", "D"),
    ("text", "texts given", ":", "#D55E00", "^"),
)
_FEWEST = 10  # items of which an interval is drawn: of fewer it would fill the picture

# name, label of its axis, whether it grows by factors, and its limits
_MEASURES = (
    ("extractable", "share extractable\n(all tokens equal)", False, (0, None)),
    ("bleu", "token BLEU\n(mean, 0 to 1)", False, (0, None)),
    ("perplexity", "perplexity of the continuation\n(geometric mean)", True, None),
    ("min_k", "Min-K% probability\n(mean log-probability)", False, None),
)


def draw(summary: Mapping[str, Any], path: Path) -> Path:
    """Draws the figures of `summarise`, with the settings in summary['protocol'], as a PNG."""
    from matplotlib.figure import Figure

    lengths = [str(length) for length in summary["protocol"]["prefix_lengths"]]
    figure = Figure(figsize=(17, 18), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.12, w_pad=0.12)
    grid = figure.subplots(len(_MEASURES), 3)
    for row, (measure, label, by_factors, limits) in zip(grid, _MEASURES, strict=True):
        _by_length(row[0], summary["groups"], lengths, measure)
        _by_bins(row[1], summary, "by_frequency", lengths, measure)
        _by_bins(row[2], summary, "by_last_step", lengths, measure)
        row[0].set_ylabel(label, fontsize=13)
        _finish(row, by_factors, limits)
    for axes, title, label in zip(grid[0], _TITLES, _LABELS, strict=True):
        axes.set_title(title, fontsize=14)
        for one in grid[:, list(grid[0]).index(axes)]:
            one.set_xlabel(label, fontsize=11)
    figure.suptitle(_title(summary), fontsize=15)
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside lower left", fontsize=12, ncols=2, title="on the left")  # fmt: skip
    figure.legend(*_keys_of_bins(grid[0]), loc="outside lower right", fontsize=12, ncols=3, title="in the middle and on the right")  # fmt: skip
    with atomic_write(path) as file:
        figure.savefig(file, format="png", dpi=100)
    return path


_TITLES = ("by prefix length", "rows trained on, by document frequency", "rows trained on, by last step seen")  # fmt: skip
_LABELS = (
    "tokens of prefix",
    "training documents that hold the continuation",
    "last step at which the continuation was seen",
)


def _title(summary: Mapping[str, Any]) -> str:
    counts = {name: group["samples"] for name, group in summary["groups"].items()}
    said = "; ".join(f"{words}: {counts[name]:,}" for name, words, *_ in _GROUPS if name in counts)
    return (
        f"Memorisation at step {summary['step']:,}: greedy continuations of {summary['protocol']['continuation']} tokens\n"
        f"{said}\nbars: 95 % intervals, of {_FEWEST} and more"
    )


def _keys_of_bins(axes: Sequence[Axes]) -> tuple[list[Any], list[str]]:
    """What the colours and dashes of the bins mean."""
    from matplotlib.lines import Line2D

    keys: dict[str, Any] = {}
    for one in axes[1:]:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            keys.setdefault(label, handle)
    if any(line.get_linestyle() == "--" for one in axes[1:] for line in one.get_lines()):
        keys["the same prefix, held out"] = Line2D([], [], color="0.3", linestyle="--", linewidth=1)
    return list(keys.values()), list(keys)


def _by_length(axes: Axes, groups: Mapping[str, Any], lengths: Sequence[str], measure: str) -> None:
    axes.set_xticks(range(len(lengths)), lengths)
    axes.set_xlim(-0.5, len(lengths) - 0.5)
    for shift, (name, words, dashes, colour, mark) in enumerate(_GROUPS):
        if name in groups:
            prefixes = groups[name]["prefixes"]
            places = [place for place, length in enumerate(lengths) if length in prefixes]
            figures = [prefixes[lengths[place]] for place in places]
            _line(axes, [place + 0.06 * (shift - 1) for place in places], figures, measure,
                  linestyle=dashes, color=colour, marker=mark, label=words)  # fmt: skip


def _by_bins(
    axes: Axes, summary: Mapping[str, Any], kind: str, lengths: Sequence[str], measure: str
) -> None:
    bins = summary[kind]
    names = [f"{_shown(one['name'])}\nn = {one['samples']:,}" for one in bins]
    crowded = len(bins) > 6
    axes.set_xticks(range(len(bins)), names, rotation=45 if crowded else 0, ha="right" if crowded else "center")  # fmt: skip
    axes.set_xlim(-0.5, max(len(bins), 1) - 0.5)
    held_out = summary["groups"].get("held_out", {}).get("prefixes", {})
    for number, length in enumerate(lengths):
        colour, mark = _COLOURS[number % len(_COLOURS)], _MARKS[number % len(_MARKS)]
        places = [place for place, one in enumerate(bins) if length in one["prefixes"]]
        figures = [bins[place]["prefixes"][length] for place in places]
        shifted = [place + 0.05 * (number - len(lengths) / 2) for place in places]
        _line(axes, shifted, figures, measure, color=colour, marker=mark, label=f"prefix of {length}")  # fmt: skip
        if length in held_out:
            axes.axhline(_value(held_out[length], measure)[0], color=colour, linestyle="--", linewidth=1)  # fmt: skip
    if not bins:
        axes.text(0.5, 0.5, "none", ha="center", va="center", transform=axes.transAxes, fontsize=12)


def _shown(name: str) -> str:
    return "crosses a\ndocument's end" if name == "crosses" else name


def _line(axes: Axes, places: Sequence[float], figures: Sequence[Mapping[str, Any]], measure: str, **style: Any) -> None:  # fmt: skip
    values = [_value(one, measure) for one in figures]
    means = [mean for mean, _, _ in values]
    below = [0 if low is None else max(0.0, mean - low) for mean, low, _ in values]
    above = [0 if high is None else max(0.0, high - mean) for mean, _, high in values]
    axes.errorbar(places, means, [below, above], capsize=3, linewidth=1.6, markersize=6, **style)


def _value(figures: Mapping[str, Any], measure: str) -> tuple[float, float | None, float | None]:
    """A measure and the ends of its interval; None where it has too few items."""
    found = figures[measure]
    mean = found["share" if measure == "extractable" else "mean"]
    return (mean, found["low"], found["high"]) if figures["items"] >= _FEWEST else (mean, None, None)  # fmt: skip


def _finish(row: Sequence[Axes], by_factors: bool, limits: tuple | None) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    for axes in row:
        if by_factors:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 1.2, 1.5, 2, 3, 5, 7), numticks=12))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.4g}")
        if limits:
            axes.set_ylim(*limits)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=11)
