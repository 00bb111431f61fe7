"""The items that a model is evaluated on: those that a run was asked, or those of a data folder. Not what it answered."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.answers import parse_gold
from llmjp_jax.evaluation.plan import plan_tasks
from llmjp_jax.evaluation.report.contamination import identity
from llmjp_jax.evaluation.report.runs import Run, TaskResult
from llmjp_jax.evaluation.task_files import evaluation_path, is_unicode, read_task_file
from llmjp_jax.search.contamination import Question


class EvaluatedTask(NamedTuple):
    """A task's items; `data_version`: the first 12 hex digits of the sha256 of its file, None where a run does not note it."""

    name: str
    split: str | None
    data_version: str | None
    questions: tuple[Question, ...]


def items_of_run(run: Run, data_dir: Path | None = None) -> list[EvaluatedTask]:
    """Exactly what a run was asked.

    Args:
      data_dir: the run's data folder; answers are taken from its files. A run notes them in NFKC, and as they are written only
        since it does; what was asked before can be looked up only so in full.

    Raises:
      UserError: the run was asked nothing, or the data folder is another one.
    """
    if not run.tasks:
        raise UserError(f"{run.path} has no tasks; give the folder of an evaluation on llm-jp-eval's tasks")  # fmt: skip
    found = []
    for task in run.tasks.values():
        split, version = task.provenance.get("split"), task.provenance.get("data_version")
        outputs = _outputs(task, split, version, data_dir) if data_dir else {}
        questions = []
        for item in task.items:
            if not (is_unicode(item.input) and is_unicode(item.gold)):
                raise UserError(f"{run.path}, {task.name}, item {item.index} has half a character (a lone surrogate); evaluate this task again")  # fmt: skip
            output = outputs.get(item.index, item.gold if item.output is None else item.output)
            questions.append(Question(item.index, item.input, output, item.gold))
        found.append(EvaluatedTask(task.name, split, version, tuple(questions)))
    return found


def _outputs(task: TaskResult, split: str | None, version: str | None, data_dir: Path) -> dict[int, str]:  # fmt: skip
    """The answers as the task's file has them, by index."""
    path = evaluation_path(data_dir, split or "dev", task.name)
    samples = read_task_file(path).samples
    if version is not None and hashlib.sha256(path.read_bytes()).hexdigest()[:12] != version:
        raise UserError(f"{path} is not the file of data version {version} that the run was asked; give the data folder of the run, or none")  # fmt: skip
    for item in task.items:
        if not 0 <= item.index < len(samples) or samples[item.index].input != item.input:
            raise UserError(f"{path} has another item {item.index} than the run was asked; give the data folder of the run, or none")  # fmt: skip
    return {item.index: samples[item.index].output for item in task.items}


def items_of_folder(
    data_dir: Path,
    tasks: str | Sequence[str] = "present",
    split: str = "test",
    samples: int | None = None,
) -> list[EvaluatedTask]:
    """The items of a data folder.

    Args:
      data_dir, tasks, split, samples: those of `plan_tasks`, whose errors this raises.
    """
    planned, _ = plan_tasks(data_dir, tasks, split=split, shots=0, samples=samples, strict=True)
    return [
        EvaluatedTask(task.name, split, task.data_version, tuple(
            Question(place, sample.input, sample.output, sample.output if task.runs_code else parse_gold(sample.output))
            for place, sample in enumerate(task.file.samples)
        ))
        for task in planned
    ]  # fmt: skip


def identity_of(question: Question) -> str:
    """What an item is known by in contamination.json."""
    return identity(question.input, question.gold)
