"""What an evaluation leaves: one JSON a task, a summary, and llm-jp-eval's own result file. Reading them back too."""

from __future__ import annotations

import contextlib
import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.aggregation import as_strings, categories
from llmjp_jax.evaluation.answers import parse_answer, parse_code, parse_gold
from llmjp_jax.evaluation.asking import Prompt
from llmjp_jax.evaluation.metrics import (
    COMPAT,
    METRICS,
    MetricUnavailable,
    ReferenceStops,
    Score,
    score,
)
from llmjp_jax.evaluation.plan import PlannedTask
from llmjp_jax.files import atomic_write, git_commit


def provenance(**given: Any) -> dict[str, Any]:
    """What every number is said with: the given fields, the code's commit and the date."""
    fields = ("model", "step", "data_version", "split", "shots", "samples", "template", "template_sha256", "judge")  # fmt: skip
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {**dict.fromkeys(fields), **given, "commit": git_commit(), "date": date}


def score_task(
    task: PlannedTask, prompts: Sequence[Prompt], raws: Sequence[str], origin: Mapping[str, Any]
) -> dict[str, Any]:
    """The contents of tasks/TASK.json: every prompt, raw answer, parsed answer, gold and score.

    Args:
      raws: what the model wrote after each prompt.
      origin: `provenance` of the run.

    Returns:
      {"task", "category", "provenance", "scores": {metric: {"value", "compat", "note"}}, "notes", "items"}. `value` is the sound
      version, `compat` llm-jp-eval 1.3's; a metric that cannot be computed here has neither, and its reason in `note`.
    """
    items = _items(task, prompts, raws)
    scores: dict[str, dict[str, Any]] = {}
    for name in task.metrics:
        found = scores[name] = {"value": None, "compat": None, "note": METRICS[name].note}
        for kind, compat in (("value", None), ("compat", COMPAT)):
            try:
                result = _score(task, raws, name, compat)
            except ReferenceStops as error:
                found["note"] += f" {error}"
                continue
            except MetricUnavailable as error:
                found["note"] = str(error)
                continue
            found[kind] = result.value
            if kind == "value" and result.items is not None:
                for item, value in zip(items, result.items, strict=True):
                    item["scores"][name] = value
    return {
        "task": task.name,
        "category": task.category,
        "provenance": {
            **origin,
            "data_version": task.data_version,
            "split": task.split,
            "shots": len(task.shots),
            "samples": len(items),
        },
        "scores": scores,
        "items": items,
    }


def score_answers(task: PlannedTask, raws: Sequence[str]) -> dict[str, float]:
    """The sound value of each metric that can be computed here."""
    found = {}
    for name in task.metrics:
        with contextlib.suppress(MetricUnavailable):
            found[name] = _score(task, raws, name, None).value
    return found


def _score(task: PlannedTask, raws: Sequence[str], metric: str, compat: str | None) -> Score:
    inputs = [sample.input for sample in task.file.samples]
    if METRICS[metric].runs_code:  # `evaluate` has asked whether it may
        return score(metric, [parse_code(raw) for raw in raws], task.golds, inputs=inputs, compat=compat, run_code=True)  # fmt: skip
    golds = [parse_gold(gold, compat) for gold in task.golds]
    return score(metric, [parse_answer(raw, compat) for raw in raws], golds, inputs=inputs, compat=compat)  # fmt: skip


def _items(task, prompts, raws) -> list[dict[str, Any]]:
    code = any(METRICS[name].runs_code for name in task.metrics)
    items = []
    for index, (prompt, raw) in enumerate(zip(prompts, raws, strict=True)):
        sample = task.file.samples[index]
        item = {
            "index": index,
            "input": sample.input,
            "prompt": prompt.text,
            "raw": raw,
            "prediction": parse_code(raw) if code else parse_answer(raw),
            "gold": sample.output if code else parse_gold(sample.output),
            "scores": {},
        }
        compat = None if code else parse_answer(raw, COMPAT)
        if compat is not None and compat != item["prediction"]:
            item["compat_prediction"] = compat
        compat = None if code else parse_gold(sample.output, COMPAT)
        if compat is not None and compat != item["gold"]:
            item["compat_gold"] = compat
        if sample.output != item["gold"]:
            item["output"] = sample.output  # as its file has it
        if prompt.shots < len(task.shots) or prompt.cut:
            item["shortened"] = {"shots": prompt.shots, "cut_tokens": prompt.cut}
        items.append(item)
    return items


def summary(results: Sequence[Mapping[str, Any]], origin: Mapping[str, Any], left_out: Sequence[str]) -> dict:  # fmt: skip
    """The contents of summary.json, of the contents of every tasks/TASK.json."""
    values = {kind: _flat(results, kind) for kind in ("value", "compat")}
    sound, compat = categories(values["value"]), categories(values["compat"], compat=COMPAT)
    tasks = {
        result["task"]: {
            "category": result["category"],
            "metrics": {
                metric: {**found, "interval": None} for metric, found in result["scores"].items()
            },
            "samples": len(result["items"]),
            "data_version": result["provenance"]["data_version"],
            "shortened": sum("shortened" in item for item in result["items"]),
        }
        for result in results
    }
    return {
        "kind": "llm_jp_eval",
        "provenance": dict(origin),
        "tasks": tasks,
        "categories": {name: value for name, value in sound.items() if name != "AVG"},
        "average": sound.get("AVG"),
        "compat": {
            "name": COMPAT,
            "categories": {name: value for name, value in compat.items() if name != "AVG"},
            "average": compat.get("AVG"),
        },
        "left_out": list(left_out),
    }


def _flat(results, kind: str) -> dict[str, float]:
    return {
        f"{result['task']}_{metric}": found[kind]
        for result in results
        for metric, found in result["scores"].items()
        if found[kind] is not None
    }


def llm_jp_eval_result(results: Sequence[Mapping[str, Any]], config: Mapping[str, Any], everything: bool,
                       template_of: Mapping[str, str]) -> dict[str, Any]:  # fmt: skip
    """llm-jp-eval 1.3's own result file: scores as text, outputs a task, and the configuration.

    Args:
      everything: all tasks of 1.3 were asked for, so that categories and AVG are there.
      template_of: each task's prompt with a literal {input}.
    """
    flat = _flat(results, "compat")
    scores = {**flat, **(categories(flat, compat=COMPAT) if everything else {})}
    outputs = {
        result["task"]: [
            {
                "prompt": template_of[result["task"]],
                "input": item["input"],
                "pred": item.get("compat_prediction", item["prediction"]),
                "gold": item.get("compat_gold", item["gold"]),
            }
            for item in result["items"]
        ]
        for result in results
    }
    return {"scores": as_strings(scores), "outputs": outputs, "config": dict(config)}


def write_json(path: Path, content: Any) -> None:
    with atomic_write(path, "w") as file:
        json.dump(content, file, ensure_ascii=False, indent=1)


def read_json(path: str | Path, keys: Sequence[str]) -> dict[str, Any]:
    """A result file that has all of `keys`.

    Raises:
      UserError: it is missing, half-written, or another file.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; run the evaluation that writes it") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is half-written or no JSON ({error}); remove it and evaluate again") from None  # fmt: skip
    missing = [key for key in keys if not isinstance(content, dict) or key not in content]
    if missing:
        raise UserError(f"{path} has no {', '.join(missing)}; it is no result of an evaluation, or half-written")  # fmt: skip
    return content
