"""What contamination means for a run's scores: each task's items by mark, and its metrics on all items, the clean and the dirty ones.

Touvron et al. 2023 (Llama 2, appendix A.6) take it for a sign that copies helped where clean items score worse than the others and
dirty ones better; one of the two alone says little. Reading the file is `contamination`, showing it `contamination_section`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmjp_jax.evaluation.report.bootstrap import Interval, generator, interval, resample
from llmjp_jax.evaluation.report.contamination import (
    CLEAN,
    DIRTY,
    MARKS,
    Contamination,
    ItemContamination,
)
from llmjp_jax.evaluation.report.measuring import Measurement, Resampled, scorer_of
from llmjp_jax.evaluation.report.runs import Item, Run, TaskResult

SHOWN_ITEMS = 5  # of a task's items, those most covered


@dataclasses.dataclass(frozen=True)
class SubsetScore:
    """A metric on some of a task's items; no value where there are none, or where the metric would take a model."""

    items: int
    value: float | None
    interval: Interval | None


@dataclasses.dataclass(frozen=True)
class ContaminatedTask:
    """A task's items against the corpus.

    Attributes:
      marks: mark -> how many items. mean_covered: of those that could be judged; None where none could.
      with_answer: items whose question stands in a document that holds the answer too.
      scores: metric -> subset ('all', 'clean', 'dirty') -> score.
      worst: items that are not clean, the most covered first.
    """

    name: str
    items: int
    marks: Mapping[str, int]
    mean_covered: float | None
    with_answer: int
    scores: Mapping[str, Mapping[str, SubsetScore]]
    worst: tuple[ItemContamination, ...]


def contaminated_tasks(run: Run, measured: Measurement) -> tuple[ContaminatedTask, ...]:
    """The run's tasks that were checked, in its order; `measured`: the run's scores of all items."""
    if run.contamination is None:
        return ()
    return tuple(_task(task, run.contamination, measured) for task in run.tasks.values() if task.name in run.contamination.tasks)  # fmt: skip


def _task(task: TaskResult, contamination: Contamination, measured: Measurement) -> ContaminatedTask:  # fmt: skip
    found = [contamination.tasks[task.name][item.index] for item in task.items]
    pairs = list(zip(task.items, found, strict=True))
    subsets = {mark: [item for item, one in pairs if one.mark == mark] for mark in (CLEAN, DIRTY)}
    covered = [one.covered for one in found if one.covered is not None]
    limit = contamination.method["clean_below"]
    return ContaminatedTask(
        name=task.name,
        items=len(found),
        marks={mark: sum(one.mark == mark for one in found) for mark in MARKS},
        mean_covered=sum(covered) / len(covered) if covered else None,
        with_answer=sum(one.with_answer is True for one in found),
        scores={
            metric: {"all": _of_all(task, measured.tasks["value"].get((task.name, metric)))}
            | {name: _score(task.name, metric, name, items) for name, items in subsets.items()}
            for metric in task.metrics
        },
        worst=tuple(sorted(
            (one for one in found if one.covered is not None and one.covered >= limit),
            key=lambda one: (-one.covered, one.index),
        )),
    )  # fmt: skip


def _of_all(task: TaskResult, known: Resampled | None) -> SubsetScore:
    if known is None:
        return SubsetScore(len(task.items), None, None)
    return SubsetScore(len(task.items), known.value, known.interval)


def _score(task: str, metric: str, subset: str, items: Sequence[Item]) -> SubsetScore:
    scorer = scorer_of(items, metric, "value") if items else None
    if scorer is None:
        return SubsetScore(len(items), None, None)
    value = float(scorer(np.arange(len(items))[None])[0])
    if not np.isfinite(value):
        return SubsetScore(len(items), None, None)
    ends = None
    if len(items) > 1:
        rng = generator("contamination", task, subset)
        ends = interval(resample(scorer, len(items), rng))
    return SubsetScore(len(items), value, ends)


def as_json(run: Run, tasks: Sequence[ContaminatedTask]) -> dict[str, Any] | None:
    """What report.json has of a run; None where nothing was checked."""
    if run.contamination is None:
        return None
    found = run.contamination
    return {
        "method": dict(found.method), "corpus": dict(found.corpus), "provenance": dict(found.provenance),
        "tasks": [
            dataclasses.asdict(dataclasses.replace(task, worst=())) | {"worst": [dataclasses.asdict(item) for item in task.worst[:SHOWN_ITEMS]]}
            for task in tasks
        ],
    }  # fmt: skip
