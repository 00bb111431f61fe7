"""From scores of tasks to scores of categories and their average (the paper's AVR), and to llm-jp-eval's text form."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from llmjp_jax.evaluation.metrics import check_compat
from llmjp_jax.evaluation.tasks import EvaluationTask, load_tasks

AVERAGE = "AVG"
# A category counts one metric of each of its tasks: the task's only one, and of translation's several this.
_COUNTED = {"MT": "comet_wmt22"}


def categories(scores: Mapping[str, float], compat: str | None = None) -> dict[str, float]:
    """The mean of each category's tasks, and `AVG`, the mean of categories.

        categories({"jnli_exact_match": 0.5, "jsick_exact_match": 0.7, "niilc_char_f1": 0.2})
          = {"NLI": 0.6, "QA": 0.2, "AVG": 0.4}

    A category without any score is left out, and so AVG is of those that were measured: compare it only with one of the same.

    Args:
      scores: '{task}_{metric}' -> value; keys that no category counts are passed over.
      compat: 'llm_jp_eval_1_3' takes the tasks of 1.3 alone, and a category without scores counts 0.0, in AVG too.
    """
    check_compat(compat)
    members: dict[str, list[str]] = {}
    for task in load_tasks().values():
        if task.category and (task.since == "1.3" or not compat):
            members.setdefault(task.category, []).append(f"{task.name}_{counted_metric(task)}")
    found = {}
    for category, keys in members.items():
        values = [scores[key] for key in keys if key in scores]
        if values or compat:
            found[category] = statistics.fmean(values) if values else 0.0
    if found:
        found[AVERAGE] = statistics.fmean(found.values())
    return found


def counted_metric(task: EvaluationTask) -> str:
    """The metric of a task that its category counts."""
    return _COUNTED.get(task.category, task.metrics[0])


def as_strings(scores: Mapping[str, float]) -> dict[str, str]:
    """Scores as in llm-jp-eval's result file: four decimals, sorted by key: {"b": 0.5, "AVG": 1} -> {"AVG": "1.0000", "b": "0.5000"}."""
    return {key: f"{scores[key]:.4f}" for key in sorted(scores)}
