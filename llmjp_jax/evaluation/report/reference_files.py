"""Result files of llm-jp-eval itself, so that numbers of others stand in a report: `{"scores", "outputs", "config"}`.

Its scores are texts of four decimals, and its outputs the answers as they were scored. From these the sound scores are
computed; a metric that needs a model or runs programs keeps llm-jp-eval's number alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.aggregation import AVERAGE, categories
from llmjp_jax.evaluation.metrics import COMPAT, METRICS, MetricUnavailable, score
from llmjp_jax.evaluation.report.bootstrap import is_cheap
from llmjp_jax.evaluation.report.runs import Item, Measured, Run, TaskResult, field, model_name
from llmjp_jax.evaluation.results import read_json
from llmjp_jax.evaluation.tasks import load_tasks


def read_reference(path: Path) -> Run:
    """A run of llm-jp-eval's result file.

    Raises:
      UserError: the file is missing, half-written, or of another form.
    """
    content = read_json(path, ("scores", "outputs"))
    scores = {name: _number(text, name, path) for name, text in field(content, "scores", dict, path).items()}  # fmt: skip
    outputs = field(content, "outputs", dict, path)
    config = content.get("config") or {}
    known = load_tasks()
    keys = _keys(scores, [*known, *outputs])
    provenance = _provenance(config, path, outputs)
    tasks = {}
    for name in dict.fromkeys([*outputs, *(task for task, _ in keys)]):
        items = [_item(item, place, f"{path}, {name}, output {place},") for place, item in enumerate(outputs.get(name) or ())]  # fmt: skip
        compat = {metric: scores[f"{name}_{metric}"] for task, metric in keys if task == name}
        metrics, items = _measured(compat, items)
        task = known.get(name)
        tasks[name] = TaskResult(name, task.category if task else None, metrics, tuple(items),
                                 {**provenance, "samples": len(items) or provenance["samples"]})  # fmt: skip
    sound = categories({
        f"{name}_{metric}": found.value
        for name, task in tasks.items() for metric, found in task.metrics.items() if found.value is not None
    })  # fmt: skip
    given = {name: value for name, value in scores.items() if name.isupper()}
    return Run(
        name=model_name(provenance, path),
        path=path,
        provenance=provenance,
        tasks=tasks,
        categories={name: value for name, value in sound.items() if name != AVERAGE},
        average=sound.get(AVERAGE),
        compat_categories={name: value for name, value in given.items() if name != AVERAGE}
        or {name: value for name, value in _compat(tasks).items() if name != AVERAGE},
        compat_average=given.get(AVERAGE, _compat(tasks).get(AVERAGE)),
        judged={},
        own=False,
    )


def _compat(tasks: Mapping[str, TaskResult]) -> dict[str, float]:
    flat = {f"{name}_{metric}": found.compat for name, task in tasks.items() for metric, found in task.metrics.items() if found.compat is not None}  # fmt: skip
    return categories(flat, compat=COMPAT) if flat else {}


def _number(text: Any, name: str, path: Path) -> float | None:
    try:
        value = float(text)
    except (TypeError, ValueError):
        raise UserError(f"{path} has the score {name} = {text!r}, which is no number; it is no result file of llm-jp-eval") from None  # fmt: skip
    return None if value != value else value


def _keys(scores: Mapping[str, Any], tasks: Sequence[str]) -> list[tuple[str, str]]:
    """(task, metric) of each score that belongs to a task; the longest name that fits, for names begin one another."""
    keys = []
    for key in scores:
        fits = [task for task in tasks if key.startswith(f"{task}_")]
        if fits:
            task = max(fits, key=len)
            keys.append((task, key[len(task) + 1 :]))
    return keys


def _provenance(config: Mapping, path: Path, outputs: Mapping) -> dict[str, Any]:
    about = config.get("metainfo") or {}
    custom = config.get("custom_prompt_template")
    counts = {len(items) for items in outputs.values()}
    return {
        "model": about.get("basemodel_name") or (config.get("wandb") or {}).get("run_name") or path.stem,
        "step": None,
        "data_version": about.get("version"),
        "split": about.get("data_type"),
        "shots": about.get("num_few_shots"),
        "samples": counts.pop() if len(counts) == 1 else about.get("max_num_samples"),
        "template": "of its own" if custom else "llm-jp-eval's",
        "template_sha256": None,
        "commit": None,
        "date": None,
        "judge": None,
        "program": "llm-jp-eval",
    }  # fmt: skip


def _item(item: Any, place: int, at: str) -> Item:
    texts = {name: field(item, name, str, at) for name in ("input", "pred", "gold")}
    prompt = item.get("prompt") or ""
    return Item(
        index=place,
        input=texts["input"],
        prompt=prompt.replace("{input}", texts["input"]) if isinstance(prompt, str) else "",
        raw=texts["pred"],
        prediction=texts["pred"],
        gold=texts["gold"],
        scores={},
        compat_prediction=texts["pred"],
    )


def _measured(compat: Mapping[str, float | None], items: Sequence[Item]) -> tuple[dict[str, Measured], list[Item]]:  # fmt: skip
    """The metrics with their sound values, and the items with their scores in them."""
    metrics = {}
    item_scores: list[dict[str, float]] = [{} for _ in items]
    for metric, value in compat.items():
        note = METRICS[metric].note if metric in METRICS else ""
        metrics[metric] = Measured(value, value, note)
        if not items or not is_cheap(metric):
            continue
        try:
            found = score(metric, [item.prediction for item in items], [item.gold for item in items])  # fmt: skip
        except MetricUnavailable:
            continue
        # Four decimals are what its file has of the same number.
        same = value is not None and abs(found.value - value) <= 5.1e-5
        metrics[metric] = Measured(value if same else found.value, value, note)
        for scores, one in zip(item_scores, found.items or (), strict=False):
            scores[metric] = one
    return metrics, [dataclasses.replace(item, scores=scores) for item, scores in zip(items, item_scores, strict=True)]  # fmt: skip
