"""contamination.json: tasks checked against a corpus, as the evaluation's report reads them. Checking one item is `contamination`."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from tqdm import tqdm

from llmjp_jax.evaluation.report import words
from llmjp_jax.evaluation.report.contamination import FORMAT, KIND, MARKS
from llmjp_jax.evaluation.report.contamination_findings import contaminated_tasks
from llmjp_jax.evaluation.report.contamination_section import percent, rows
from llmjp_jax.evaluation.report.measuring import measure
from llmjp_jax.evaluation.report.runs import Run
from llmjp_jax.files import git_commit
from llmjp_jax.search.contamination import TRAINING, Checked, Limits, check
from llmjp_jax.search.corpus_index import CorpusIndex
from llmjp_jax.search.evaluated_items import EvaluatedTask, identity_of
from llmjp_jax.search.results import Where


def contamination_record(
    index: CorpusIndex,
    tasks: Sequence[EvaluatedTask],
    *,
    limits: Limits = Limits(),
    where: Where = TRAINING,
    documents: int = 3,
    threads: int = 4,
    progress: bool = True,
) -> dict[str, Any]:
    """The contents of contamination.json.

    Returns:
      {"kind", "format", "method": the limits, "corpus": {"index", "vocabulary", "stores": [{"subset", "split", "documents", "tokens",
      "characters", "text", "fingerprint"}]}, "provenance": {"commit", "date"}, "tasks": {name: {"split", "data_version", "marks":
      {mark: items}, "mean_covered", "with_answer": items, "units": {unit: parts that were long enough}, "items"}}}.

    Raises:
      UserError: as of `check`.
    """
    questions = [question for task in tasks for question in task.questions]
    checked = check(index, questions, limits=limits, where=where, documents=documents, threads=threads)  # fmt: skip
    bar = tqdm(checked, "items against the corpus", len(questions), unit="item", disable=not progress)  # fmt: skip
    found = iter(list(bar))
    return {
        "kind": KIND,
        "format": FORMAT,
        "method": asdict(limits),
        "corpus": _corpus(index, where),
        "provenance": {
            "commit": git_commit(),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        },
        "tasks": {task.name: _task(task, [next(found) for _ in task.questions]) for task in tasks},
    }


def _corpus(index: CorpusIndex, where: Where) -> dict[str, Any]:
    names = ("subset", "split", "documents", "tokens", "characters", "text", "fingerprint")
    chosen = [
        info
        for (subset, split), info in index.stores.items()
        if (where.subsets is None or subset in where.subsets)
        and (where.splits is None or split in where.splits)
    ]
    return {
        "index": str(index.folder),
        "vocabulary": index.vocabulary.fingerprint,
        "stores": [{name: getattr(info, name) for name in names} for info in chosen],
    }


def _task(task: EvaluatedTask, items: Sequence[Checked]) -> dict[str, Any]:
    marks = Counter(item.mark for item in items)
    covered = [item.covered for item in items if item.covered is not None]
    parts = [part for item in items for part in (item.input, item.output)]
    return {
        "split": task.split,
        "data_version": task.data_version,
        "marks": {mark: marks[mark] for mark in MARKS},
        "mean_covered": sum(covered) / len(covered) if covered else None,
        "with_answer": sum(item.with_answer is True for item in items),
        "units": dict(Counter(part.unit for part in parts if part.covered is not None)),
        "items": [_item(item) for item in items],
    }


def _item(item: Checked) -> dict[str, Any]:
    return {
        "index": item.question.index,
        "id": identity_of(item.question),
        "mark": item.mark,
        "covered": item.covered,
        "with_answer": item.with_answer,
        "input": asdict(item.input),
        "output": asdict(item.output),
        "longest": None if item.longest is None else asdict(item.longest),
    }


def table(record: Mapping[str, Any], run: Run | None = None) -> str:
    """The tasks for a terminal; with a run that has its contamination, also its scores of all, the clean and the dirty items."""
    heads = ["items", "clean", "partly", "dirty", "short", "covered", "with answer"]
    lines = [f"{'task':<24}" + "".join(f"{head:>12}" for head in heads)]
    for name, task in record["tasks"].items():
        covered = task["mean_covered"]
        cells = [len(task["items"]), *(task["marks"][mark] for mark in MARKS), words.NOTHING if covered is None else percent(covered), task["with_answer"]]  # fmt: skip
        lines.append(f"{name:<24}" + "".join(f"{cell:>12}" for cell in cells))
    if run is not None:
        lines += ["", f"{'score':<24}{'metric':<24}" + "".join(f"{subset:>12}" for subset in ("all", "clean", "dirty"))]  # fmt: skip
        for name, metric, _, scores in rows(contaminated_tasks(run, measure(run, progress=False))):
            lines.append(f"{name:<24}{metric:<24}" + "".join(f"{value:>12}" for value, _ in scores))
    return "\n".join(lines)
