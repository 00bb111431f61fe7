"""Everything that a report says, as numbers: what the page, the Markdown and report.json are written from.

Here the parts are put together; how a number's interval comes about is in `bootstrap`, `measuring`, `comparison` and `judging`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from llmjp_jax.evaluation.aggregation import AVERAGE
from llmjp_jax.evaluation.report import contamination_findings, judging
from llmjp_jax.evaluation.report.bootstrap import LEVEL, RESAMPLES, SEED, Interval
from llmjp_jax.evaluation.report.comparison import Difference, adjust
from llmjp_jax.evaluation.report.contamination_findings import ContaminatedTask, contaminated_tasks
from llmjp_jax.evaluation.report.measuring import (
    Differences,
    Measurement,
    Resampled,
    complete_categories,
    differences,
    measure,
)
from llmjp_jax.evaluation.report.paper import PaperTable, choose_rows, load_paper
from llmjp_jax.evaluation.report.provenances import in_words, unlike, unlikes_of, warnings_of
from llmjp_jax.evaluation.report.runs import JUDGES, SAFETY, Run

FORMAT = 1
# In the order of the paper's Table 10.
CATEGORIES = ("EL", "FA", "HE", "MC", "MR", "MT", "NLI", "QA", "RC")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One number of one run.

    Attributes:
      value, interval: the sound version with its 95 % interval; compat, compat_interval: llm-jp-eval 1.3's.
      samples: items behind it; None for a category.
      difference: from the first run; None where there is none to name.
      complete: for categories: every task of llm-jp-eval 1.3 that belongs in it was scored, so that the paper's compares.
      provenance: what the number was measured with.
      not_clean: how many of the items stand in a training corpus, in part or whole; None where that was not looked up.
    """

    value: float | None
    interval: Interval | None
    compat: float | None = None
    compat_interval: Interval | None = None
    samples: int | None = None
    difference: Difference | None = None
    complete: bool = True
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    not_clean: int | None = None

    @property
    def differs(self) -> bool:
        """The two versions are different numbers, one of which may be missing."""
        if self.value is None or self.compat is None:
            return self.value is not self.compat
        return abs(self.value - self.compat) > 5e-5


@dataclasses.dataclass(frozen=True)
class Row:
    """A number in each run: a category, a metric of a task, or a score of a judge.

    Attributes:
      name: of the row in its table. category, metric: of a task's row; note: how the metric's versions differ.
      cells: one a run; None where the run has no such number.
      paper: the paper's column of the same.
      digits: behind the point that its numbers are written with.
    """

    name: str
    cells: tuple[Cell | None, ...]
    category: str | None = None
    metric: str = ""
    note: str = ""
    paper: str | None = None
    digits: int = 3


@dataclasses.dataclass(frozen=True)
class Paper:
    """Rows of the paper beside those of the runs.

    Attributes:
      shown: names of rows in view: those chosen, or the nearest of each run.
      nearest: of each run; None where too little of it is known.
      outside: row -> column -> for each run 1 where the paper's number lies above the run's interval, -1 below, 0 within or unknown.
      caution: why its numbers may differ for other reasons than the models.
    """

    table: PaperTable
    shown: tuple[str, ...]
    nearest: tuple[str | None, ...]
    outside: Mapping[str, Mapping[str, tuple[int, ...]]]
    caution: str


@dataclasses.dataclass(frozen=True)
class JudgedFindings:
    """What one judge or safety test says: `rows` the scores, `categories` theirs; `counts` of each run; `unlike` as of `Findings`."""

    kind: str
    title: str
    rows: tuple[Row, ...]
    categories: tuple[Row, ...]
    counts: tuple[Mapping[str, Any] | None, ...]
    provenances: tuple[Mapping[str, Any] | None, ...]
    unlike: tuple[str, ...]
    paper: Paper | None


@dataclasses.dataclass(frozen=True)
class Findings:
    """A report's contents.

    Attributes:
      warnings: sentences for the top of the report.
      unlike: for each run in words what it does not share with the first, such as 'shots, samples'; empty where nothing.
      categories: the average first; tasks: a row a metric. judged: judges and safety tests.
      contamination: of each run, the tasks that were checked against a corpus.
    """

    runs: tuple[Run, ...]
    warnings: tuple[str, ...]
    unlike: tuple[str, ...]
    categories: tuple[Row, ...]
    tasks: tuple[Row, ...]
    paper: Paper | None
    judged: tuple[JudgedFindings, ...]
    contamination: tuple[tuple[ContaminatedTask, ...], ...]

    @property
    def metric_notes(self) -> dict[str, str]:
        """What is to be said of metrics whose two versions differ here, or that a run could not compute."""
        notes: dict[str, str] = {}
        for row in self.tasks:
            if row.note and any(cell is None or cell.differs for cell in row.cells):
                known = notes.get(row.metric, "")
                notes[row.metric] = row.note if known in row.note else known
        return notes

    def of(self, kinds: Sequence[str]) -> list[JudgedFindings]:
        return [found for found in self.judged if found.kind in kinds]


def find(runs: Sequence[Run], paper: Sequence[str] | None = None, progress: bool = True) -> Findings:  # fmt: skip
    """The numbers of a report about these runs.

    Args:
      runs: the first is the one that the others are compared with.
      paper: names of the paper's rows to set beside them; None: the nearest of each run.

    Raises:
      UserError: the paper has no such row.
    """
    chosen = None if paper is None else choose_rows(paper)
    measured = [measure(run, progress) for run in runs]
    compared = [None, *(differences(runs[0], run, progress) for run in runs[1:])]
    categories, unlikes = _category_rows(runs, measured, compared), unlikes_of(runs)
    return Findings(
        runs=tuple(runs),
        warnings=tuple(warnings_of(runs, unlikes)),
        unlike=("", *(in_words(found.of_tasks) for found in unlikes)),
        categories=categories,
        tasks=_task_rows(runs, measured, compared),
        paper=_paper(load_paper()["llm_jp_eval"], categories, chosen, "compat") if categories else None,
        judged=tuple(_judged(kind, runs, chosen) for kind in (*JUDGES, *SAFETY) if any(kind in run.judged for run in runs)),
        contamination=tuple(contaminated_tasks(run, one) for run, one in zip(runs, measured, strict=True)),
    )  # fmt: skip


def _adjusted(found: Sequence[Mapping[Any, Difference | None] | None]) -> list[Mapping[Any, Difference | None]]:  # fmt: skip
    """Each run's differences with p-values adjusted for how many the run has."""
    return [dict(zip(one, adjust(list(one.values())), strict=True)) if one else {} for one in found]


def _cell(value: Resampled | None, compat: Resampled | None, **further: Any) -> Cell | None:
    if value is None and compat is None:
        return None
    return Cell(
        value and value.value, value and value.interval, compat and compat.value, compat and compat.interval, **further
    )  # fmt: skip


def _task_rows(runs: Sequence[Run], measured: Sequence[Measurement], compared: Sequence[Differences | None]) -> tuple[Row, ...]:  # fmt: skip
    adjusted = _adjusted([one and one.tasks for one in compared])
    keys = dict.fromkeys((task.name, metric) for run in runs for task in run.tasks.values() for metric in task.metrics)  # fmt: skip
    # A task's metrics together, in the order of the first run that has it.
    tasks = list(dict.fromkeys(task for task, _ in keys))
    rows = []
    for key in sorted(keys, key=lambda key: tasks.index(key[0])):
        task, metric = key
        results = [run.tasks.get(task) for run in runs]
        cells = tuple(
            result and metric in result.metrics and _cell(
                one.tasks["value"].get(key), one.tasks["compat"].get(key), samples=len(result.items),
                difference=found.get(key), provenance={**run.provenance, **result.provenance},
                not_clean=run.contamination and run.contamination.not_clean(task, [item.index for item in result.items]),
            ) or None
            for run, result, one, found in zip(runs, results, measured, adjusted, strict=True)
        )  # fmt: skip
        known = [result for result in results if result and metric in result.metrics]
        note = " ".join(dict.fromkeys(result.metrics[metric].note for result in known))
        digits = 1 if metric.startswith(("bleu", "chrf")) else 3  # of a scale to 100
        rows.append(Row(task, cells, known[0].category, metric, note.strip(), digits=digits))
    return tuple(rows)


def _category_rows(runs, measured, compared) -> tuple[Row, ...]:
    """The average and the categories that a run has measured; the paper's first, then others."""
    adjusted = _adjusted([one and one.categories for one in compared])
    complete = [complete_categories(run) for run in runs]
    measured_somewhere = {name for one in measured for name in one.categories["value"]}
    if not measured_somewhere:
        return ()
    others = sorted(measured_somewhere - {AVERAGE, *CATEGORIES})
    rows = []
    for name in (AVERAGE, *CATEGORIES, *others):
        if name not in measured_somewhere:
            continue
        cells = []
        for run, one, found, whole in zip(runs, measured, adjusted, complete, strict=True):
            value = one.categories["value"].get(name)
            # llm-jp-eval writes 0.0 for a category without scores; that is no measurement.
            compat = one.categories["compat"].get(name) if value is not None else None
            cells.append(_cell(value, compat, difference=found.get(name), complete=name in whole, provenance=run.provenance))  # fmt: skip
        rows.append(Row(name, tuple(cells), paper="AVR" if name == AVERAGE else name if name in CATEGORIES else None))  # fmt: skip
    return tuple(rows)


def _paper(table: PaperTable, rows: Sequence[Row], chosen: Sequence[str] | None, version: str) -> Paper:  # fmt: skip
    """The table's rows beside these; `version` of the runs' numbers is the one that the paper's are of."""
    by_column = {row.paper: row for row in rows if row.paper}
    runs = range(len(rows[0].cells)) if rows else range(0)

    def number(column: str, run: int) -> tuple[float | None, Interval | None]:
        cell = by_column[column].cells[run] if column in by_column else None
        if cell is None or not cell.complete:
            return None, None
        return (cell.compat, cell.compat_interval) if version == "compat" else (cell.value, cell.interval)  # fmt: skip

    nearest = tuple(table.nearest({column: number(column, run)[0] for column in table.columns}) for run in runs)  # fmt: skip
    shown = [name for name in chosen if name in table.rows] if chosen is not None else [name for name in nearest if name]  # fmt: skip
    outside = {
        row: {
            column: tuple(_side(table.value(row, column), number(column, run)[1]) for run in runs)
            for column in table.columns
        }
        for row in table.rows
    }
    return Paper(table, tuple(dict.fromkeys(shown)), nearest, outside, _CAUTIONS.get(table.kind, ""))  # fmt: skip


def _side(value: float, interval: Interval | None) -> int:
    if interval is None:
        return 0
    return (value > interval[1]) - (value < interval[0])


_CAUTIONS = {
    "llm_jp_eval": "The paper does not say with how many shots and samples its numbers came about, so that a difference may be one of settings.",
    "vicuna": "Another judge, or another version of it, gives other numbers.",
    "mt_bench": "Another judge, or another version of it, gives other numbers.",
    "answer_carefully": "The paper's numbers are those of people who graded 61 answers; a judge that is a model grades otherwise.",
}  # fmt: skip


def _judged(kind: str, runs: Sequence[Run], chosen: Sequence[str] | None) -> JudgedFindings:
    results = [run.judged.get(kind) for run in runs]
    there = [result for result in results if result]
    table = load_paper().get(kind)
    rows = _judged_rows(results, judging.scores_of(there), category=False)
    categories = _judged_rows(
        results, judging.categories_of(there, table.columns if table else ()), category=True
    )
    return JudgedFindings(
        kind=kind,
        title=judging.TITLES[kind],
        rows=rows,
        categories=categories,
        counts=tuple(result and result.counts for result in results),
        provenances=tuple(result and result.provenance for result in results),
        unlike=tuple(in_words(unlike(results[0].provenance, result.provenance)[0]) if result and results[0] else "" for result in results),
        paper=_paper(table, (*rows, *categories), chosen, "value") if table else None,
    )  # fmt: skip


def _judged_rows(results, scores, category: bool) -> tuple[Row, ...]:
    first = results[0]
    found = [
        {
            score: judging.compare(first, result, score, category)
            if first and result and place
            else None
            for score in scores
        }
        for place, result in enumerate(results)
    ]
    adjusted = _adjusted(found)
    rows = []
    for score in scores:
        cells = []
        for result, differing in zip(results, adjusted, strict=True):
            number = result and judging.read(result, score, category)
            cells.append(number and _cell(number, None, difference=differing.get(score), provenance=result.provenance))  # fmt: skip
        rows.append(Row(score.title, tuple(cells), paper=score.paper, digits=score.digits))
    return tuple(rows)


def as_json(findings: Findings) -> dict[str, Any]:
    """The contents of report.json: all numbers of the report, with what they were measured with."""

    def rows(given: Sequence[Row]) -> list[dict[str, Any]]:
        return [dataclasses.asdict(row) for row in given]

    def paper(given: Paper | None) -> dict[str, Any] | None:
        return given and {
            "source": given.table.source, "settings": given.table.settings, "columns": given.table.columns,
            "rows": dict(given.table.rows), "shown": given.shown, "nearest": given.nearest, "outside": given.outside,
            "caution": given.caution,
        }  # fmt: skip

    return {
        "format": FORMAT,
        "method": {"interval": LEVEL, "resamples": RESAMPLES, "seed": SEED},
        "runs": [{"name": run.name, "path": str(run.path), "provenance": dict(run.provenance)} for run in findings.runs],
        "warnings": findings.warnings,
        "unlike": findings.unlike,
        "categories": rows(findings.categories),
        "tasks": rows(findings.tasks),
        "paper": paper(findings.paper),
        "judged": [
            {"kind": found.kind, "rows": rows(found.rows), "categories": rows(found.categories), "counts": found.counts,
             "provenances": found.provenances, "unlike": found.unlike, "paper": paper(found.paper)}
            for found in findings.judged
        ],
        "contamination": [contamination_findings.as_json(run, tasks) for run, tasks in zip(findings.runs, findings.contamination, strict=True)],
    }  # fmt: skip
