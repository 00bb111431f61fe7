"""Prompts for other programs to answer (vLLM, ...) and their answers read back, in llm-jp-eval 1.4's own files.

`DIR/TASK.eval-prompt.json` is a task's file with `samples[i].prompt`; `DIR/TASK.eval-generated.json` is the same object with
`samples[i].generated`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.asking import Asking
from llmjp_jax.evaluation.plan import PlannedTask
from llmjp_jax.evaluation.prompts import PromptTemplate, find_template
from llmjp_jax.evaluation.task_files import is_unicode
from llmjp_jax.files import atomic_write


def write_prompts(tasks: Sequence[PlannedTask], folder: str | Path, asking: Asking,
                  config: Mapping[str, Any]) -> list[Path]:  # fmt: skip
    """Writes each task's prompts.

    Args:
      asking: its template and output_length count here.
      config: of the run, the same in all files.

    Returns:
      The files.
    """
    paths = []
    for task in tasks:
        path = Path(folder) / f"{task.name}.eval-prompt.json"
        samples = [
            {
                "input": sample.input,
                "output": sample.output,
                "prompt": task.prompt(index, asking.template),
            }
            for index, sample in enumerate(task.file.samples)
        ]
        content = {
            "instruction": task.file.instruction,
            "output_length": asking.length_of(task),
            "metrics": list(task.metrics),
            "few_shots": [],
            "samples": samples,
            "target_dataset": task.name,
            "config": dict(config),
        }
        with atomic_write(path, "w") as file:
            json.dump(content, file, ensure_ascii=False, indent=1)
        paths.append(path)
    return paths


def read_answers(task: PlannedTask, folder: str | Path, template: str | PromptTemplate) -> tuple[list[str], list[str]]:  # fmt: skip
    """The prompts that were answered and the answers, in the order of the task's items.

    Raises:
      UserError: the file is missing or half-written, has another number of samples or other ones, lacks an answer, or was
        asked with other shots or another template.
    """
    path = Path(folder) / f"{task.name}.eval-generated.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing; generate the answers of {task.name}, or leave it out of tasks") from None  # fmt: skip
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is half-written or no JSON ({error}); generate its answers again") from None  # fmt: skip
    samples = content.get("samples") if isinstance(content, dict) else None
    if not isinstance(samples, list):
        raise UserError(f"{path} has no list of samples; it must be {task.name}.eval-prompt.json with samples[i].generated")  # fmt: skip
    expected = task.file.samples
    if len(samples) != len(expected):
        raise UserError(f"{path} has {len(samples)} samples, and {len(expected)} are asked of {task.name}; set samples to what was generated")  # fmt: skip
    for index, (sample, own) in enumerate(zip(samples, expected, strict=True)):
        found = sample if isinstance(sample, dict) else {}
        if (found.get("input"), found.get("output")) != (own.input, own.output):
            raise UserError(f"{path} sample {index} is not item {index} of {task.name}'s {task.split} file; use the data that its prompts were made of")  # fmt: skip
        if not isinstance(found.get("generated"), str) or not is_unicode(found["generated"]):
            raise UserError(f"{path} sample {index} has no text 'generated'; generate its answer again")  # fmt: skip
        if found.get("prompt", prompt := task.prompt(index, template)) != prompt:
            raise UserError(f"{path} sample {index} was asked with another prompt than {len(task.shots)} shots in the template {find_template(template).name} make; give the shots and the template that it was written with")  # fmt: skip
    return [str(sample.get("prompt", "")) for sample in samples], [s["generated"] for s in samples]
