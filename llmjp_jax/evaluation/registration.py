"""llm-jp-eval's tasks as SeqIO Tasks, with the same prompts and metrics, for an Evaluator of SeqIO or t5x. Imports TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from llmjp_jax.evaluation.answers import parse_answer, parse_gold
from llmjp_jax.evaluation.metrics import score
from llmjp_jax.evaluation.plan import PlannedTask, plan_tasks
from llmjp_jax.tokenizer import Vocabulary


def register_tasks(data_dir: str | Path, vocabulary: Vocabulary, tasks: str | Sequence[str] = "all", *,
                   splits: Sequence[str] = ("dev", "test"), shots: int = 4, samples: int | None = None,
                   template: str = "llm_jp_eval_1_3", compat: str | None = None) -> list[str]:  # fmt: skip
    """Registers a Task a task, named as it is; `dev` and `test` are its splits.

        names = register_tasks("evaluation", vocabulary, "jnli")
        seqio.Evaluator("jnli", seqio.LMFeatureConverter(...), eval_split="dev")

    Args:
      compat: 'llm_jp_eval_1_3' for the reference's metrics with their quirks; None: the sound ones.
      The others: see `evaluate`.

    Returns:
      The names.

    Raises:
      UserError: as `evaluate`.
    """
    from llmjp_jax.tasks import register_question_task

    planned: dict[str, dict[str, PlannedTask]] = {}
    for split in splits:
        found, _ = plan_tasks(data_dir, tasks, split=split, shots=shots, samples=samples, strict=True)  # fmt: skip
        for task in found:
            planned.setdefault(task.name, {})[split] = task
    for name, by_split in planned.items():
        questions = {
            split: [(task.prompt(i, template), gold) for i, gold in enumerate(task.golds)]
            for split, task in by_split.items()
        }
        first = next(iter(by_split.values()))
        register_question_task(
            name,
            questions,
            vocabulary,
            [_metric_fn(metric, compat) for metric in first.metrics],
            _postprocess(compat),
        )
    return list(planned)


def _metric_fn(metric: str, compat: str | None):
    def metric_fn(targets: Sequence[str], predictions: Sequence[str]) -> Mapping[str, float]:
        return {metric: score(metric, list(predictions), list(targets), compat=compat).value}

    metric_fn.__name__ = metric
    return metric_fn


def _postprocess(compat: str | None):
    def postprocess(text: str, example: Mapping | None = None, is_target: bool = False) -> str:
        if is_target:
            # The tokens of an answer need not give back its every character.
            return parse_gold(example["answer"].decode())
        return parse_answer(text, compat)

    return postprocess
