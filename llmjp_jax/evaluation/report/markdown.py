"""The report as Markdown: the same numbers as the page, to paste into a README or an issue."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmjp_jax.corpus.pipeline.report_elements import printable
from llmjp_jax.evaluation.report import contamination_section, words
from llmjp_jax.evaluation.report.findings import Cell, Findings, JudgedFindings, Paper, Row
from llmjp_jax.evaluation.report.paper import paper_models
from llmjp_jax.evaluation.report.runs import JUDGES, SAFETY
from llmjp_jax.evaluation.report.samples import EACH, Sample, choose, cut
from llmjp_jax.evaluation.report.sections import METHOD, columns_of, paper_source

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~])")


def text(raw: str) -> str:
    """`raw` on one line, nothing of it read as Markdown or HTML."""
    return _SPECIAL.sub(r"\\\1", " ".join(printable(raw).split())).replace("&", "&amp;")


def number(cell: Cell | None, digits: int, compat: bool = True) -> str:
    """`0.412 ▲ [0.370–0.450]`, with llm-jp-eval's number in parentheses where that is another."""
    if cell is None:
        return words.NOTHING
    sign = words.mark(cell.difference)
    ends = words.interval(cell.interval, digits)
    compat_words = words.compat(cell, digits) if compat and cell.differs else ""
    other = f" ({compat_words})" if compat_words else ""
    contaminated = words.not_clean(cell)
    return words.score(cell.value, digits) + (f" {sign}" if sign else "") + (f" [{ends}]" if ends else "") + other + (f" {contaminated}" if contaminated else "")  # fmt: skip


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table whose cells are Markdown already; `left` columns are names, the others numbers."""
    rule = [":--" if place < left else "--:" for place in range(len(heads))]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heads, rule, *rows))


def markdown(findings: Findings, samples: int = EACH) -> str:
    """The report; `samples` right and wrong answers of each task."""
    several = len(findings.runs) > 1
    names = [f"{place}. {text(run.name)}" if several else text(run.name) for place, run in enumerate(findings.runs, 1)]  # fmt: skip
    parts = ["# Evaluation report", _runs(findings)]
    if findings.warnings:
        parts.append("\n".join(f"> **Note:** {text(sentence)}" + "  " for sentence in findings.warnings))  # fmt: skip
    if findings.categories:
        parts += ["## Categories", *_categories(findings, names)]
    if findings.tasks:
        parts += ["## Tasks", *_tasks(findings, names)]
    if any(findings.contamination):
        parts += ["## Contamination", *_contamination(findings, names)]
    for heading, kinds in (("Judges", JUDGES), ("Safety", SAFETY)):
        if found := findings.of(kinds):
            parts += [f"## {heading}", *(part for one in found for part in _judged(findings, one, names))]  # fmt: skip
    if samples and (chosen := choose(findings.runs, samples)):
        parts += ["## Sample answers", *(_sample(one, several) for task in chosen.values() for one in task)]  # fmt: skip
    parts += ["## How this was counted", *(text(paragraph) for paragraph in METHOD)]
    return "\n\n".join(parts) + "\n"


def _runs(findings: Findings) -> str:
    average = next((row for row in findings.categories if row.name == "AVG"), None)
    rows = []
    for place, run in enumerate(findings.runs):
        line = words.provenance_of([row.cells[place] for row in findings.tasks], run.provenance)
        rows.append([str(place + 1), text(run.name), number(average.cells[place] if average else None, 3), text(line)])  # fmt: skip
    return table(["", "Run", "Average", "Measured with"], rows, 2)


def _sources(findings: Findings, rows: Sequence[Row], *further: str) -> str:
    lines = [
        words.provenance_of(cells, run.provenance) if any(cells) else ""
        for run, cells in zip(findings.runs, columns_of(rows, findings.runs), strict=True)
    ]
    said = [f"- {text(run.name)}: {text(line)}" for run, line in zip(findings.runs, lines, strict=True) if line]  # fmt: skip
    return "\n".join([*said, *(f"- {text(line)}" for line in further if line)])


def _categories(findings: Findings, names: Sequence[str]) -> list[str]:
    rows, paper = findings.categories, findings.paper
    lines = [[name, *(number(row.cells[place], row.digits) for row in rows)] for place, name in enumerate(names)]  # fmt: skip
    shown = paper.shown if paper else ()
    lines += [_paper_line(paper, name, [row.paper for row in rows], 3) for name in shown]
    parts = [table(["", *(row.name for row in rows)], lines)]
    parts.append(_sources(findings, rows, *([paper_source(paper), paper.caution] if shown else [])))
    return [*parts, *_every_row(paper, 3)]


def _every_row(paper: Paper | None, digits: int) -> list[str]:
    """All rows of the paper's table, folded where Markdown is shown as GitHub does."""
    if paper is None:
        return []
    columns = paper.table.columns
    lines = [_paper_line(paper, name, columns, digits) for name in paper.table.rows]
    return [f"<details><summary>All rows of {paper.table.source}</summary>", table(["", *columns], lines), "</details>"]  # fmt: skip


def _paper_line(paper: Paper, name: str, columns: Sequence[str | None], digits: int) -> list[str]:
    cells = []
    for column in columns:
        if column is None:
            cells.append(words.NOTHING)
            continue
        sides = paper.outside[name][column]
        signs = [f"{'↑' if side > 0 else '↓'}{place if len(sides) > 1 else ''}" for place, side in enumerate(sides, 1) if side]  # fmt: skip
        cells.append(" ".join([words.score(paper.table.value(name, column), digits), *signs]))
    return [f"{name}, {text(paper_models()[name])} (paper)", *cells]


def _tasks(findings: Findings, names: Sequence[str]) -> list[str]:
    rows = []
    for row in findings.tasks:
        rows.append([f"`{row.name}`", row.category or words.NOTHING, f"`{row.metric}`", words.items(row.cells), *(number(cell, row.digits) for cell in row.cells)])  # fmt: skip
    noted = findings.metric_notes
    parts = [table(["Task", "Category", "Metric", "Items", *names], rows, 3), _sources(findings, findings.tasks)]  # fmt: skip
    if noted:
        parts.append("\n".join(f"- `{metric}`: {text(note)}" for metric, note in noted.items()))
    return parts


def _contamination(findings: Findings, names: Sequence[str]) -> list[str]:
    parts, said = [], []
    for name, run, tasks in zip(names, findings.runs, findings.contamination, strict=True):
        if not tasks:
            continue
        lines = []
        for task, metric, counts, numbers in contamination_section.rows(tasks):
            scores = [f"{value} [{about}]" if about else value for value, about in numbers]
            lines.append([f"`{task}`", f"`{metric}`", *counts, *scores])
        heads = ["Task", "Metric", *contamination_section.HEADS[1:]]
        stores = "\n".join(f"- {text(line)}" for line in contamination_section.corpus_lines(run.contamination))  # fmt: skip
        parts += [f"### {name}", table(heads, lines, 2), stores]
        said.append(contamination_section.explained(run.contamination))
    return [*parts, *(text(sentence) for sentence in dict.fromkeys(said))]


def _judged(findings: Findings, found: JudgedFindings, names: Sequence[str]) -> list[str]:
    paper = found.paper
    shown = paper.shown if paper else ()
    rows = []
    for row in (*found.rows, *found.categories):
        beside = [_paper_line(paper, name, [row.paper], row.digits)[1] for name in shown]
        rows.append([text(row.name), *(number(cell, row.digits, compat=False) for cell in row.cells), *beside])  # fmt: skip
    heads = ["", *names, *(f"{name} (paper)" for name in shown)]
    further = [paper_source(paper), paper.caution] if shown else []
    every = _every_row(paper, max(row.digits for row in found.rows)) if paper else []
    return [f"### {found.title}", table(heads, rows), _sources(findings, (*found.rows, *found.categories), *further), *every]  # fmt: skip


def _sample(sample: Sample, several: bool) -> str:
    said = f", {sample.verdict}" if sample.verdict else ""
    parts = [f"**`{sample.task}`, item {sample.item.index}{said}**", _fenced(cut(sample.item.input, "input"))]  # fmt: skip
    parts += ["Gold:", _fenced(sample.item.gold)]
    for place, answer in enumerate(sample.answers, 1):
        if answer is not None:
            parts += [f"Answer of {place}:" if several else "Answer:", _fenced(cut(answer.raw, "answer"))]  # fmt: skip
    return "\n\n".join(parts)


def _fenced(raw: str) -> str:
    """A text as it is, between fences longer than any in it."""
    raw = printable(raw)
    longest = max(map(len, re.findall("`+", raw)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{raw}\n{fence}"
