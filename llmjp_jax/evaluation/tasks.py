"""The tasks that a model is evaluated on: what `data/evaluation.toml` says of each, read strictly.

Which samples a task has is in its files (`task_files`); how they come from raw data is in `preparation`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from llmjp_jax.corpus.manifests import load_manifest
from llmjp_jax.errors import UserError

VERSIONS = ("1.3", "1.4")
_MANIFEST = "evaluation"
_CATEGORIES = ("NLI", "QA", "RC", "MC", "HE", "EL", "FA", "MR", "MT")
_FIELDS = {
    "instruction", "output_length", "metrics", "category", "since", "registered", "licence", "source", "commercial",
    "dev_sha256", "samples", "like",
}  # fmt: skip
_NEEDED = {"instruction", "output_length", "metrics", "since", "licence", "source", "commercial"}
_OWN_FIELDS = {"like", "dev_sha256", "samples"}  # never taken over by `like`


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationTask:
    """One task of llm-jp-eval.

    Attributes:
      name: as llm-jp-eval names it, and its files.
      instruction: what the prompt asks for.
      output_length: the most tokens that an answer may have.
      metrics: names of `llmjp_jax.evaluation.metrics`.
      category: of the average; None: in none.
      since: the version of llm-jp-eval that has it, '1.3' or '1.4'.
      licence, source: of the raw data; `source` is a name in data/sources_evaluation.toml.
      commercial: whether the licence allows commercial use.
      official_sha256: of the official evaluation/dev/NAME.json by version; empty where there is none.
      registered: False: llm-jp-eval has its code but leaves it out of "all".
      samples: how many train, dev and test have on complete raw data; None where it is not known.
    """

    name: str
    instruction: str
    output_length: int
    metrics: tuple[str, ...]
    category: str | None
    since: str
    licence: str
    source: str
    commercial: bool
    official_sha256: Mapping[str, str] = dataclasses.field(default_factory=dict)
    registered: bool = True
    samples: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        place = f"the task {self.name}"
        if not (isinstance(self.instruction, str) and self.instruction):
            raise UserError(f"{place}: instruction must be a text that is not empty")
        if type(self.output_length) is not int or self.output_length < 1:
            raise UserError(f"{place}: output_length = {self.output_length!r} must be 1 or more")
        if not self.metrics or not all(isinstance(name, str) for name in self.metrics):
            raise UserError(f"{place}: metrics = {list(self.metrics)} must name one at least")
        if self.category is not None and self.category not in _CATEGORIES:
            raise UserError(
                f"{place}: category = {self.category!r} must be one of {', '.join(_CATEGORIES)}, or be left out"
            )
        if self.since not in VERSIONS:
            raise UserError(f"{place}: since = {self.since!r} must be one of {', '.join(VERSIONS)}")


def load_tasks() -> dict[str, EvaluationTask]:
    """All tasks by name, in the evaluator's own order; those that it does not register come last.

    Raises:
      UserError: data/evaluation.toml is not as described.
    """
    return dict(_tasks())


def find_task(name: str) -> EvaluationTask:
    """The task of this name.

    Raises:
      UserError: there is none; names the nearest.
    """
    tasks = _tasks()
    if name in tasks:
        return tasks[name]
    near = difflib.get_close_matches(name, tasks, 1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(tasks)}"
    raise UserError(f"there is no evaluation task named {name} ({hint})")


def select_tasks(names: str | Sequence[str]) -> list[EvaluationTask]:
    """The tasks meant by a name, several names, 'all' (the 23 of llm-jp-eval 1.3.0) or 'all-1.4' (with those added since).

    Several names keep their order, and each task comes once.

    Raises:
      UserError: as `find_task`; there is no name.
    """
    if isinstance(names, str):
        names = [names]
    selected: dict[str, EvaluationTask] = {}
    for name in names:
        if name in ("all", "all-1.4"):
            versions = VERSIONS[:1] if name == "all" else VERSIONS
            found = [t for t in _tasks().values() if t.registered and t.since in versions]
        else:
            found = [find_task(name)]
        selected.update((task.name, task) for task in found)
    if not selected:
        raise UserError("name an evaluation task, or 'all'")
    return list(selected.values())


@functools.cache
def _tasks() -> Mapping[str, EvaluationTask]:
    tables = load_manifest(_MANIFEST).get("tasks", {})
    return MappingProxyType({name: _task(name, tables) for name in tables})


def _task(name: str, tables: Mapping[str, Mapping[str, Any]]) -> EvaluationTask:
    place = f"data/{_MANIFEST}.toml, [tasks.{name}]"
    fields = _with_inherited(name, tables, place)
    for field in fields:
        if field not in _FIELDS:
            raise UserError(f"{place} has an unknown field {field}; known are: {', '.join(sorted(_FIELDS))}")  # fmt: skip
    for field in sorted(_NEEDED - fields.keys()):
        raise UserError(f"{place} has no field {field}")
    samples = fields.get("samples")
    return EvaluationTask(
        name=name,
        instruction=fields["instruction"],
        output_length=fields["output_length"],
        metrics=tuple(fields["metrics"]),
        category=fields.get("category"),
        since=fields["since"],
        licence=fields["licence"],
        source=fields["source"],
        commercial=fields["commercial"],
        official_sha256=MappingProxyType(dict(fields.get("dev_sha256", {}))),
        registered=fields.get("registered", True),
        samples=None if samples is None else tuple(samples),
    )


def _with_inherited(
    name: str, tables: Mapping[str, Mapping[str, Any]], place: str, below: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The fields of a table over those of the task that it is `like`, if any."""
    model = tables[name].get("like")
    if model is None:
        return dict(tables[name])
    if model not in tables or model in (*below, name):
        raise UserError(f"{place}: like = {model!r} must name another task, and not in a circle")
    inherited = _with_inherited(model, tables, place, (*below, name))
    return {k: v for k, v in inherited.items() if k not in _OWN_FIELDS} | dict(tables[name])
