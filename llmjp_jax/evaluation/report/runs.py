"""Runs as a report reads them: the folder that an evaluation left, with its tasks, answers, judges and safety results.

Reading only: nothing is computed here but what a file says of itself. llm-jp-eval's own result files are `reference_files.py`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.results import read_json

if TYPE_CHECKING:
    from llmjp_jax.evaluation.report.contamination import Contamination

JUDGES = ("vicuna", "mt_bench")
SAFETY = ("answer_carefully", "toxicity", "jbbq")

_CLOSE = 1e-6  # numbers of two files that should be the same


@dataclasses.dataclass(frozen=True)
class Item:
    """One question of a task and what the model answered.

    Attributes:
      raw: the model's text as it came. prediction: what was scored of it. gold: what it was scored against.
      scores: of the metrics that score an item by itself.
      compat_prediction: what llm-jp-eval 1.3 would have scored; most often the same.
      output: the gold answer as the task's file has it, where that is written otherwise.
    """

    index: int
    input: str
    prompt: str
    raw: str
    prediction: str
    gold: str
    scores: Mapping[str, float]
    compat_prediction: str
    output: str | None = None


@dataclasses.dataclass(frozen=True)
class Measured:
    """A metric of a task: `value` the sound version, `compat` llm-jp-eval 1.3's; None where it could not be computed."""

    value: float | None
    compat: float | None
    note: str = ""


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """A task of a run: its metrics, in their file's order, and its items."""

    name: str
    category: str | None
    metrics: Mapping[str, Measured]
    items: tuple[Item, ...]
    provenance: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Judged:
    """What a judge or a safety test says of a run; `kind` is one of `JUDGES` or `SAFETY`."""

    kind: str
    provenance: Mapping[str, Any]
    scores: Mapping[str, float | None]
    categories: Mapping[str, float | None]
    counts: Mapping[str, Any]
    items: tuple[Mapping[str, Any], ...]


@dataclasses.dataclass(frozen=True)
class Run:
    """One evaluated model.

    Attributes:
      name: how the report calls it; no other run of the report has this name.
      provenance: model, step, data version, split, shots, samples, template and its sha256, commit, date.
      tasks: by name, in the order of its summary; empty for a run that was only judged.
      categories, average: the summary's sound numbers; compat_categories, compat_average: llm-jp-eval 1.3's.
      judged: by kind.
      notices: sentences about this run that a reader of its numbers must know.
      own: False for a result file of llm-jp-eval itself.
      contamination: what of its items stands in a training corpus, see `contamination.with_contamination`; None where that was
        not looked up.
    """

    name: str
    path: Path
    provenance: Mapping[str, Any]
    tasks: Mapping[str, TaskResult]
    categories: Mapping[str, float | None]
    average: float | None
    compat_categories: Mapping[str, float | None]
    compat_average: float | None
    judged: Mapping[str, Judged]
    notices: tuple[str, ...] = ()
    own: bool = True
    contamination: Contamination | None = None


def read_runs(arguments: Sequence[str | os.PathLike]) -> tuple[Run, ...]:
    """Runs by folder or file, each with a name of its own.

    Args:
      arguments: PATH or NAME=PATH: a folder with summary.json, judges/ or safety/, or a result file of llm-jp-eval, or the
        folder of one that is called results.json. Without NAME a run is called after its model.

    Raises:
      UserError: there is none, a file is missing, half-written or contradicts its form, or two runs have one NAME.
    """
    if not arguments:
        raise UserError("give the folder of at least one run")
    given = [_named(os.fspath(argument)) for argument in arguments]
    runs = [_read(path) for _, path in given]
    names = [name or run.name for (name, _), run in zip(given, runs, strict=True)]
    counts = Counter(names)
    unique = [
        f"{name} ({run.path.name})" if counts[name] > 1 else name
        for name, run in zip(names, runs, strict=True)
    ]
    if len(set(unique)) < len(unique):
        twice = Counter(unique).most_common(1)[0][0]
        raise UserError(f"two runs are called {twice!r}; give each a name of its own as NAME=PATH")
    return tuple(dataclasses.replace(run, name=name) for run, name in zip(runs, unique, strict=True))  # fmt: skip


def _named(argument: str) -> tuple[str | None, Path]:
    name, equals, path = argument.partition("=")
    if equals and name and path and not Path(argument).exists():
        return name, Path(path)
    return None, Path(argument)


def _read(path: Path) -> Run:
    from llmjp_jax.evaluation.report.reference_files import read_reference

    if not path.exists():
        raise UserError(f"there is no run at {path}; give the folder that an evaluation wrote")
    if path.is_file():
        return read_reference(path)
    judged = _read_judged(path)
    if (path / "summary.json").exists():
        return _read_folder(path, judged)
    if (path / "results.json").exists():
        return dataclasses.replace(read_reference(path / "results.json"), path=path, judged=judged)
    if not judged:
        raise UserError(
            f"{path} has no summary.json, no results.json, and nothing in judges or safety; give the folder that an evaluation wrote to its end"
        )
    provenance = next(iter(judged.values())).provenance
    return Run(model_name(provenance, path), path, provenance, {}, {}, None, {}, None, judged)


def _read_folder(path: Path, judged: Mapping[str, Judged]) -> Run:
    where = path / "summary.json"
    summary = read_json(where, ("provenance", "tasks", "categories", "average", "compat"))
    for name in ("provenance", "tasks", "categories", "compat"):
        field(summary, name, dict, where)
    notices = [f"Left out: {sentence}" for sentence in summary.get("left_out") or ()]
    tasks, shortened = {}, []
    for name in summary["tasks"]:
        entry = field(summary["tasks"], name, dict, where)
        tasks[name] = _read_task(path, name, entry, where)
        if entry.get("shortened"):
            shortened.append(f"{name} ({entry['shortened']} of {entry['samples']})")
    if shortened:
        notices.append(f"Prompts that were too long and lost shots or their start: {', '.join(shortened)}.")  # fmt: skip
    compat, provenance = summary["compat"], dict(summary["provenance"])
    if provenance.get("data_version") is None:
        provenance["data_version"] = _version_of(tasks)
    return Run(
        name=model_name(provenance, path),
        path=path,
        provenance=provenance,
        tasks=tasks,
        categories=numbers(summary["categories"], where),
        average=number(summary, "average", where),
        compat_categories=numbers(field(compat, "categories", dict, where), where),
        compat_average=number(compat, "average", where),
        judged=judged,
        notices=tuple(notices),
    )


def _version_of(tasks: Mapping[str, TaskResult]) -> str | None:
    """The first 12 hex digits of the sha256 of all tasks' data versions; None where one of them is not noted."""
    versions = [f"{name} {task.provenance.get('data_version')}" for name, task in sorted(tasks.items())]  # fmt: skip
    if not versions or any(task.provenance.get("data_version") is None for task in tasks.values()):
        return None
    return hashlib.sha256("\n".join(versions).encode()).hexdigest()[:12]


def _read_task(folder: Path, name: str, entry: Mapping, summary: Path) -> TaskResult:
    where = folder / "tasks" / f"{name}.json"
    content = read_json(where, ("task", "scores", "items"))
    items = tuple(_item(item, where, place) for place, item in enumerate(field(content, "items", list, where)))  # fmt: skip
    if len({item.index for item in items}) < len(items):
        raise UserError(f"{where} has two items of one index; evaluate this task again")
    samples = field(entry, "samples", int, summary)
    if len(items) != samples:
        raise UserError(
            f"{where} has {len(items)} items and {summary} says {samples}: they are of different evaluations; evaluate again"
        )
    metrics = {}
    for metric, found in field(entry, "metrics", dict, summary).items():
        value, compat = number(found, "value", summary), number(found, "compat", summary)
        metrics[metric] = Measured(value, compat, found.get("note") or "")
        task_says = content["scores"].get(metric, {}).get("value")
        scored = [item.scores[metric] for item in items if metric in item.scores]
        if scored and len(scored) < len(items):
            raise UserError(f"{where} has no score of {metric} for {len(items) - len(scored)} of its {len(items)} items; evaluate this task again")  # fmt: skip
        mean = sum(scored) / len(scored) if scored else task_says
        for other in (task_says, mean):
            if not _same(value, None if other != other else other):
                raise UserError(
                    f"{where} says {other} for {metric} and {summary} says {value}: they are of different evaluations; evaluate again"
                )
    category = None if entry.get("category") is None else field(entry, "category", str, summary)
    return TaskResult(name, category, metrics, items, content.get("provenance") or {})


def _same(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return first is second
    return abs(first - second) <= _CLOSE * max(1, abs(first))


def _item(item: Any, where: Path, place: int) -> Item:
    at = f"{where}, item {place},"
    if not isinstance(item, dict):
        raise UserError(f"{at} must be an object; evaluate this task again")
    output = field(item, "output", str, at) if "output" in item else None
    texts = {name: field(item, name, str, at) for name in ("input", "prompt", "raw", "prediction", "gold")}  # fmt: skip
    return Item(
        index=field(item, "index", int, at),
        scores={
            name: math.nan if score is None else score
            for name, score in numbers(field(item, "scores", dict, at), at).items()
        },  # fmt: skip
        compat_prediction=item.get("compat_prediction", texts["prediction"]),
        output=output,
        **texts,
    )


def _read_judged(path: Path) -> dict[str, Judged]:
    judged = {}
    for folder, kinds in (("judges", JUDGES), ("safety", SAFETY)):
        for kind in kinds:
            where = path / folder / f"{kind}.json"
            if not where.exists():
                continue
            content = read_json(where, ("kind", "provenance", "scores"))
            if content["kind"] != kind:
                raise UserError(f"{where} holds a result of kind {content['kind']!r}; give it its own name")  # fmt: skip
            judged[kind] = Judged(
                kind=kind,
                provenance=field(content, "provenance", dict, where),
                scores=numbers(field(content, "scores", dict, where), where),
                categories=numbers(content.get("categories") or {}, where),
                counts=content.get("counts") or {},
                items=tuple(content.get("items") or ()),
            )
    return judged


def model_name(provenance: Mapping[str, Any], path: Path) -> str:
    """The last part of the model's path or name, with its step; the folder's name where no model is noted."""
    model = str(provenance.get("model") or "").rstrip("/")
    name = model.rsplit("/", 1)[-1] or path.stem
    step = provenance.get("step")
    return name if step is None else f"{name}, step {step}"


def field(record: Mapping, name: str, kind: type, where: Any) -> Any:
    """A field of a file that must be there and of one type; `where` names the file in the error.

    Raises:
      UserError: it is not there, or not of that type.
    """
    if not isinstance(record, dict) or name not in record:
        raise UserError(f"{where} has no {name}; it is half-written or of another program: evaluate again")  # fmt: skip
    if not isinstance(record[name], kind):
        raise UserError(f"{where} has {name} = {record[name]!r:.60}, which is no {kind.__name__}; evaluate again")  # fmt: skip
    return record[name]


def number(record: Mapping, name: str, where: Any) -> float | None:
    """A field that is a number or None (not computed); a NaN counts as not computed."""
    if not isinstance(record, dict) or name not in record:
        raise UserError(f"{where} has no {name}; it is half-written or of another program: evaluate again")  # fmt: skip
    value = record[name]
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or abs(value) == math.inf):  # fmt: skip
        raise UserError(f"{where} has {name} = {value!r:.60}, which is no number; evaluate again")
    return None if value is None or value != value else float(value)


def numbers(record: Mapping, where: Any) -> dict[str, float | None]:
    return {name: number(record, name, where) for name in record}
