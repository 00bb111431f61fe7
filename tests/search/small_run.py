"""A data folder and an evaluation's run of it, both written by the evaluation's own functions; only the answers are made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from llmjp_jax.evaluation.asking import Prompt
from llmjp_jax.evaluation.plan import plan_tasks
from llmjp_jax.evaluation.results import provenance, score_task, summary, write_json
from llmjp_jax.evaluation.task_files import Sample, TaskFile, evaluation_path
from llmjp_jax.files import atomic_write

Pairs = Sequence[tuple[str, str]]


def write_data(folder: Path, tasks: Mapping[str, Pairs], split: str = "dev") -> Path:
    """A data folder with a file of (input, output) for each task, scored by exact match."""
    for name, pairs in tasks.items():
        file = TaskFile("答えてください。", 20, ("exact_match",), tuple(Sample(*pair) for pair in pairs))  # fmt: skip
        with atomic_write(evaluation_path(folder, split, name)) as out:
            out.write(file.bytes())
    return folder


def write_run(
    folder: Path, data_dir: Path, answers: Mapping[str, Sequence[str]], samples: int | None = None
) -> Path:
    """A run that was asked the first samples of the data folder's tasks and gave these answers."""
    planned, _ = plan_tasks(data_dir, list(answers), split="dev", shots=0, samples=samples, strict=True)  # fmt: skip
    origin = provenance(model="runs/small", split="dev", shots=0, samples=samples, template="llm_jp_eval_1_3")  # fmt: skip
    results = []
    for task in planned:
        prompts = [Prompt(task.prompt(place, "llm_jp_eval_1_3"), (), 0) for place in range(len(task.golds))]  # fmt: skip
        results.append(score_task(task, prompts, answers[task.name][: len(prompts)], origin))
        write_json(folder / "tasks" / f"{task.name}.json", results[-1])
    write_json(folder / "summary.json", summary(results, origin, []))
    return folder
