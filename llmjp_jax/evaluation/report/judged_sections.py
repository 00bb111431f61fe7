"""The parts of the page about judges and safety tests."""

from __future__ import annotations

from collections.abc import Sequence

from llmjp_jax.corpus.pipeline.report_elements import Markup, element
from llmjp_jax.evaluation.report.findings import Findings, JudgedFindings, Paper, Row
from llmjp_jax.evaluation.report.runs import JUDGES, SAFETY
from llmjp_jax.evaluation.report.sections import (
    columns_of,
    grid,
    head,
    number_cell,
    paper_line,
    paper_rows,
    paper_source,
    row_head,
    run_heads,
    section,
    sources,
)


def judged_section(findings: Findings, kinds: Sequence[str], heading: str, id: str) -> Markup:
    """The judges' or the safety tests' numbers; nothing where no run has any."""
    found = findings.of(kinds)
    if not found:
        return Markup("")
    return section(heading, id, *(part for one in found for part in _judged(findings, one)))


def judges_section(findings: Findings) -> Markup:
    return judged_section(findings, JUDGES, "Judges", "judges")


def safety_section(findings: Findings) -> Markup:
    return judged_section(findings, SAFETY, "Safety", "safety")


def _judged(findings: Findings, found: JudgedFindings) -> list[Markup]:
    paper, first = found.paper, findings.runs[0].name
    shown = paper.shown if paper else ()
    heads = [head("", number=False), *run_heads(findings.runs, found.unlike), *(head(name, " ", element("span", "paper", class_="tag")) for name in shown)]  # fmt: skip

    def line(row: Row) -> list[Markup]:
        cells = [row_head(row.name), *(number_cell(cell, row.digits, first, compat=False) for cell in row.cells)]  # fmt: skip
        for name in shown:
            cells.append(paper_line(paper, name, [row.paper], row.digits)[1])
        return cells

    counts = [
        f"{run.name}: " + ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in given.items() if isinstance(count, int))
        for run, given in zip(findings.runs, found.counts, strict=True) if given
    ]  # fmt: skip
    rows = [*found.rows, *found.categories]
    parts = [
        element("h3", found.title, id=f"judged-{found.kind}"),
        grid(found.title, heads, [line(row) for row in rows], "judged"),
        sources(findings.runs, columns_of(rows, findings.runs), *counts, paper_source(paper) if shown else ""),
        _reading_judged(findings, paper if shown else None),
    ]  # fmt: skip
    if paper:
        parts.append(paper_rows(paper, findings.runs, max(row.digits for row in found.rows)))
    return parts


def _reading_judged(findings: Findings, paper: Paper | None) -> Markup:
    said = ["Below a number: its 95 % interval, where the items explain it."]
    if len(findings.runs) > 1:
        said.append(f"▲ ▼: significantly above or below {findings.runs[0].name}.")
    if paper:
        said += ["↑ ↓: the paper's number lies above or below the run's interval.", paper.caution]
    return element("p", " ".join(said), class_="muted reading")
