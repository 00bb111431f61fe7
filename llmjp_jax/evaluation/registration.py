"""llm-jp-eval's tasks as SeqIO Tasks, with the same prompts and metrics, for an Evaluator of SeqIO or t5x. Imports TensorFlow."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.answers import parse_answer, parse_gold
from llmjp_jax.evaluation.metrics import MetricUnavailable, find_metric, score
from llmjp_jax.evaluation.plan import PlannedTask, plan_tasks
from llmjp_jax.tokenizer import Vocabulary


def register_tasks(data_dir: str | Path, vocabulary: Vocabulary, tasks: str | Sequence[str] = "all", *,
                   splits: Sequence[str] = ("dev", "test"), shots: int = 4, samples: int | None = None,
                   template: str = "llm_jp_eval_1_3", compat: str | None = None) -> list[str]:  # fmt: skip
    """Registers a Task a task, named as it is with `_` for `-`, which SeqIO's names cannot have; `dev` and `test` are its splits.

        names = register_tasks("evaluation", vocabulary, "jnli")
        seqio.Evaluator("jnli", seqio.LMFeatureConverter(...), eval_split="dev")

    A metric that has no value here, such as COMET without its model, is left out of an Evaluator's results with a warning.

    Args:
      compat: 'llm_jp_eval_1_3' for the reference's metrics with their quirks; None: the sound ones.
      The others: see `evaluate`.

    Returns:
      The names.

    Raises:
      UserError: as `evaluate`; a task is scored by running what the model wrote.
    """
    from llmjp_jax.tasks import register_question_task

    planned: dict[str, dict[str, PlannedTask]] = {}
    for split in splits:
        found, _ = plan_tasks(data_dir, tasks, split=split, shots=shots, samples=samples, strict=True)  # fmt: skip
        for task in found:
            planned.setdefault(task.name, {})[split] = task
    for name, by_split in planned.items():
        for metric in next(iter(by_split.values())).metrics:
            if find_metric(metric).runs_code:
                raise UserError(f"{name} runs what the model wrote; it is no Task of SeqIO, leave it out")  # fmt: skip
    names = []
    for name, by_split in planned.items():
        questions = {
            split: [(task.prompt(i, template), gold) for i, gold in enumerate(task.golds)]
            for split, task in by_split.items()
        }
        first = next(iter(by_split.values()))
        asked = {
            task.prompt(i, template): sample.input
            for task in by_split.values()
            for i, sample in enumerate(task.file.samples)
        }
        names.append(name.replace("-", "_"))
        register_question_task(
            names[-1],
            questions,
            vocabulary,
            [_metric_fn(metric, compat) for metric in first.metrics],
            _postprocess(asked, compat),
        )
    return names


class _Gold(str):
    """A gold answer that knows what was asked, for metrics that need it: SeqIO hands them no more than targets."""

    input: str


def _metric_fn(metric: str, compat: str | None):
    def metric_fn(targets: Sequence[str], predictions: Sequence[str]) -> Mapping[str, float]:
        inputs = [getattr(target, "input", "") for target in targets]
        try:
            value = score(
                metric, list(predictions), list(targets), inputs=inputs, compat=compat
            ).value
        except MetricUnavailable as error:
            warnings.warn(str(error), stacklevel=2)
            return {}
        return {metric: value}

    metric_fn.__name__ = metric
    return metric_fn


def _postprocess(asked: Mapping[str, str], compat: str | None):
    def postprocess(text: str, example: Mapping | None = None, is_target: bool = False) -> str:
        if is_target:
            # The tokens of an answer need not give back its every character.
            gold = _Gold(parse_gold(example["answer"].decode(), compat))
            gold.input = asked[example["inputs_pretokenized"].decode()]
            return gold
        return parse_answer(text, compat)

    return postprocess
