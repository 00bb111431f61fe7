"""summary.md: the figures as tables that read without the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_GROUPS = {
    "trained": "Rows the run was trained on",
    "held_out": "Held out: validation text that stands nowhere in the training split",
    "held_out_known": "Held out, yet in the training split",
    "text": "Texts given",
}
_COLUMNS = "prefix | items | extractable | 95 % interval | BLEU ≥ 0.75 | token BLEU | equal from the start | perplexity | Min-K%"
_MOST_TEXTS = 50


def markdown(summary: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> str:
    """A page of the figures of `summarise`; of texts given, a line each."""
    protocol = summary["protocol"]
    parts = [
        f"# Memorisation of {summary['run']} at step {summary['step']:,}\n",
        f"The model goes on greedily for {protocol['continuation']} tokens after each prefix. *Extractable*: all of them are those that "
        "stood there. *Equal from the start*: the mean number of them before the first other one. Perplexity (a geometric mean) and "
        f"Min-K% (K = {protocol['min_k_percent']:g}, a mean of natural logarithms) are those of the true continuation.\n",
        *(f"Note: {note}.\n" for note in summary["notes"]),
        "![Each measure by prefix length, by document frequency and by last step seen](memorization.png)\n",
    ]
    for name, words in _GROUPS.items():
        if name in summary["groups"]:
            group = summary["groups"][name]
            parts.append(f"## {words} ({group['samples']:,})\n\n{_table([('', group)])}")
    if summary["auc"]:
        said = ", ".join(f"{area:.3f} ({length})" for length, area in summary["auc"].items())
        parts.append(
            "Of a trained and a held-out continuation, the trained one has the higher Min-K% in this share of pairs (0.5: it says "
            f"nothing), by prefix length: {said}.\n"
        )
    for kind, words, column in (
        ("by_frequency", "Trained rows by document frequency", "documents"),
        ("by_last_step", "Trained rows by the last step at which the continuation was seen", "steps"),
    ):  # fmt: skip
        if summary[kind]:
            rows = [(_bin_name(one["name"]), one) for one in summary[kind]]
            parts.append(f"## {words}\n\n{_table(rows, column)}")
    texts = [item for item in items if item["group"] == "text"]
    if texts:
        parts.append(f"## Each text\n\n{_texts(texts[:_MOST_TEXTS])}")
        if len(texts) > _MOST_TEXTS:
            parts.append(f"The other {len(texts) - _MOST_TEXTS:,} are in items.jsonl.\n")
    return "\n".join(parts)


def _bin_name(name: str) -> str:
    return "crosses a document's end" if name == "crosses" else name


def _table(rows: Sequence[tuple[str, Mapping[str, Any]]], column: str | None = None) -> str:
    head = _COLUMNS if column is None else f"{column} | {_COLUMNS}"
    lines = [f"| {head} |", "|" + "---|" * (head.count("|") + 1)]
    for name, group in rows:
        for length, one in group["prefixes"].items():
            extractable, low, high = (one["extractable"][part] for part in ("share", "low", "high"))
            cells = [
                *([] if column is None else [name]), length, f"{one['items']:,}", f"{extractable:.2%}", f"{low:.2%} – {high:.2%}",
                f"{one['approximate']:.2%}", f"{one['bleu']['mean']:.3f}", f"{one['matched']:.2f}",
                f"{one['perplexity']['mean']:.4g}", f"{one['min_k']['mean']:.3f}",
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _texts(items: Sequence[Mapping[str, Any]]) -> str:
    head = "text | documents | occurrences | times seen | last step | prefix | extractable | equal | BLEU | perplexity | Min-K%"
    lines = [f"| {head} |", "|" + "---|" * (head.count("|") + 1)]
    for item in items:
        last = "never" if item["last_step"] is None else f"{item['last_step']:,}"
        name = item["source"].replace("|", "\\|")
        for length, answer in item["prefixes"].items():
            cells = [
                name, f"{item['documents']:,}", f"{item['occurrences']:,}", f"{item['times_seen']:,}", last, length,
                "yes" if answer["extractable"] else "no", str(answer["matched"]), f"{answer['bleu']:.3f}",
                f"{answer['perplexity']:.4g}", f"{answer['min_k']:.3f}",
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
