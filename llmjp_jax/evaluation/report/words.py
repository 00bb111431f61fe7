"""How a report writes scores, intervals, differences and provenances: the same words on the page and in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmjp_jax.corpus.pipeline.report_quantities import NARROW, counted
from llmjp_jax.evaluation.report.bootstrap import Interval
from llmjp_jax.evaluation.report.comparison import Difference
from llmjp_jax.evaluation.report.findings import Cell

NOTHING = "–"
HIGHER, LOWER = "▲", "▼"
CATEGORY_NAMES = {
    "AVG": "Average", "EL": "Entity linking", "FA": "Fundamental analysis", "HE": "Human examination", "MC": "Multiple choice",
    "MR": "Mathematical reasoning", "MT": "Machine translation", "NLI": "Natural language inference",
    "QA": "Question answering", "RC": "Reading comprehension", "CG": "Code generation", "SUM": "Summarisation",
}  # fmt: skip


def score(value: float | None, digits: int) -> str:
    """`0.412`; `–` where there is no number; a minus sign, not a hyphen."""
    return NOTHING if value is None else f"{value:.{digits}f}".replace("-", "−")


def interval(found: Interval | None, digits: int) -> str:
    """`0.370–0.450`; empty where there is none."""
    if found is None:
        return ""
    low, high = (score(end, digits) for end in found)
    return f"{low} to {high}" if "−" in low + high else f"{low}–{high}"


def items(cells: Sequence[Cell | None]) -> str:
    """`100`, or `60–100` where runs have different numbers of items."""
    counts = sorted({cell.samples for cell in cells if cell and cell.samples is not None})
    return "–".join(f"{count:,}" for count in counts[:: max(1, len(counts) - 1)])


def compat(cell: Cell, digits: int) -> str:
    """`1.3: 0.398`, llm-jp-eval's number; empty where it is written like the sound one."""
    other = score(cell.compat, digits)
    return "" if other == score(cell.value, digits) else f"1.3: {other}"


def difference(found: Difference, first: str, digits: int) -> str:
    """`+0.031 from A on 100 common items, p = 0.004 after Holm's correction: significant`."""
    sign = "+" if found.value >= 0 else ""
    p = "p < 0.001" if found.adjusted_p < 0.001 else f"p = {found.adjusted_p:.3f}"
    verdict = "significant" if found.significant else "not significant"
    return f"{sign}{score(found.value, digits)} from {first} on {counted(found.items, 'common item')}, {p} after Holm's correction: {verdict}"


def mark(found: Difference | None) -> str:
    """▲ or ▼ where a run lies significantly above or below the first, else nothing."""
    if found is None or not found.significant:
        return ""
    return HIGHER if found.value > 0 else LOWER


def not_clean(cell: Cell) -> str:
    """`⚠ 3 of 50 items not clean`, of contamination; empty where all are clean or nothing is known."""
    return (
        f"⚠ {cell.not_clean:,} of {counted(cell.samples, 'item')} not clean"
        if cell.not_clean
        else ""
    )


def provenance(given: Mapping[str, Any], data: str | None = None, samples: str | None = None) -> str:  # fmt: skip
    """One line of what a number was measured with: data version, split, shots, samples, template with its sha256, judge, commit, date.

    Args:
      data, samples: in place of the provenance's own, where a table has several.
    """
    shots, step, commit = given.get("shots"), given.get("step"), given.get("commit")
    count = given.get("samples")
    template = given.get("template")
    sha = given.get("template_sha256")
    parts = [
        f"data {data or given.get('data_version') or 'version not noted'}",
        str(given["split"]) if given.get("split") else "",
        counted(shots, "shot") if isinstance(shots, int) else "shots not noted" if "judge" not in given or not given["judge"] else "",
        samples or (counted(count, "sample") if isinstance(count, int) else "all samples" if "samples" in given else "samples not noted"),
        f"template {template or 'not noted'} ({sha[:12] if sha else 'sha256 not noted'})",
        f"judge {given['judge']}" if given.get("judge") else "",
        f"step {step:,}" if isinstance(step, int) else "",
        f"commit {short_commit(commit)}" if commit else "commit not noted",
        str(given["date"])[:10] if given.get("date") else "",
    ]  # fmt: skip
    return " · ".join(part for part in parts if part)


def short_commit(commit: str) -> str:
    """Twelve digits of a commit, with `-dirty` where the code had changed."""
    name, dash, dirty = commit.partition("-")
    return name[:12] + dash + dirty


def provenance_of(cells: Sequence[Cell | None], run: Mapping[str, Any]) -> str:
    """One line for all numbers of a run in a table; `run` is the run's own provenance, for what the numbers differ in."""
    found = [cell.provenance for cell in cells if cell is not None and cell.provenance]
    if not found:
        return provenance(run)
    versions = {given.get("data_version") for given in found}
    counts = sorted({given["samples"] for given in found if isinstance(given.get("samples"), int)})
    data = f"{run.get('data_version')} ({len(versions)} files)" if len(versions) > 1 else None
    samples = f"{counts[0]:,} to {counts[-1]:,}{NARROW}samples" if len(counts) > 1 else None
    return provenance(found[0], data, samples)
