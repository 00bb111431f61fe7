"""The files of a task, byte for byte as llm-jp-eval writes them.

    DIR/evaluation/{train,dev,test}/TASK.json             one object: instruction, output_length, metrics, few_shots, samples
    DIR/tuning/{train,dev,dev_first100}/TASK.json         a list of records to tune on ("jaster"); test is never among them

What is asked of a model with them is in `prompts`.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write

SPLITS = ("train", "dev", "test")
FIRST = 100  # samples of dev in tuning/dev_first100


@dataclasses.dataclass(frozen=True)
class Sample:
    """What a model reads and what it should answer."""

    input: str
    output: str


@dataclasses.dataclass(frozen=True)
class TaskFile:
    """One split of a task.

    Attributes:
      instruction, output_length, metrics: as `EvaluationTask`.
      samples: in their order.

    Raises:
      UserError: the instruction, the metrics or the samples are empty, or output_length is below 1; llm-jp-eval refuses these.
    """

    instruction: str
    output_length: int
    metrics: tuple[str, ...]
    samples: tuple[Sample, ...]

    def __post_init__(self) -> None:
        for field in ("instruction", "metrics", "samples"):
            if not getattr(self, field):
                raise UserError(f"a task file with empty {field} is of no use; give it some")
        if self.output_length < 1:
            raise UserError(f"output_length = {self.output_length} must be 1 or more")

    def bytes(self) -> bytes:
        """The file's content: JSON, indented by 4, characters as they are, no line end after the last line."""
        content = {
            "instruction": self.instruction,
            "output_length": self.output_length,
            "metrics": list(self.metrics),
            "few_shots": [],  # always so since llm-jp-eval 1.1
            "samples": [{"input": s.input, "output": s.output} for s in self.samples],
        }
        return _json_bytes(content)


def evaluation_path(folder: str | os.PathLike, split: str, task: str) -> Path:
    """Where a split of a task lies below a data folder."""
    return Path(folder) / "evaluation" / split / f"{task}.json"


def tuning_path(folder: str | os.PathLike, split: str, task: str) -> Path:
    """Where the records to tune on lie; `split` is train, dev or dev_first100."""
    return Path(folder) / "tuning" / split / f"{task}.json"


def tuning_records(task: str, file: TaskFile) -> list[dict[str, str]]:
    """The samples as records to tune on: ID, instruction, input, output, and the whole text.

    The text has the header for an instruction with an input even where the input is empty, as llm-jp-eval writes it.
    """
    from llmjp_jax.conversations.templates import TEMPLATES

    template = TEMPLATES["v1.1"]
    start = template.header_with_input + template.before_instruction + file.instruction
    return [
        {
            "ID": f"{task}-{index}",
            "instruction": file.instruction,
            "input": sample.input,
            "output": sample.output,
            "text": start
            + (template.before_input + sample.input if sample.input else "")
            + template.before_response
            + sample.output,
        }
        for index, sample in enumerate(file.samples)
    ]


def write_task_files(
    folder: str | os.PathLike, task: str, files: dict[str, TaskFile]
) -> list[Path]:
    """Writes the evaluation files of a task, of all of `SPLITS`, and the tuning files of its train and dev.

    Raises:
      OSError: the folder cannot be written to.
    """
    contents = {evaluation_path(folder, split, task): files[split].bytes() for split in SPLITS}
    for split in ("train", "dev"):
        records = tuning_records(task, files[split])
        contents[tuning_path(folder, split, task)] = _json_bytes(records)
        if split == "dev":
            contents[tuning_path(folder, "dev_first100", task)] = _json_bytes(records[:FIRST])
    for path, content in contents.items():
        with atomic_write(path) as file:
            file.write(content)
    return list(contents)


def read_task_file(path: str | os.PathLike) -> TaskFile:
    """An evaluation file.

    Shots that the file itself carries (`few_shots`, before llm-jp-eval 1.1) are not read.

    Raises:
      UserError: it cannot be read, is not whole, or a field or a sample's gold answer is missing or of another type; names the
        file, the field and the sample.
    """
    content = _read_json(path)
    if not isinstance(content, dict):
        raise UserError(
            f"{path} must hold one JSON object, as tools/prepare_evaluation.py writes it"
        )
    instruction = _field(content, "instruction", str, path)
    output_length = _field(content, "output_length", int, path)
    metrics = _field(content, "metrics", list, path)
    samples = _field(content, "samples", list, path)
    if not all(isinstance(metric, str) for metric in metrics):
        raise UserError(f"{path}: metrics must be names; it has {metrics}")
    try:
        return TaskFile(
            instruction=instruction,
            output_length=output_length,
            metrics=tuple(metrics),
            samples=_samples(samples, path),
        )
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(str(path)) else f"{path}: {text}") from None


def _samples(samples: Sequence[Any], path: str | os.PathLike) -> tuple[Sample, ...]:
    found = []
    for index, sample in enumerate(samples):
        place = f"{path}, sample {index}"
        if not isinstance(sample, dict):
            raise UserError(f"{place} must be an object with input and output; it is {sample!r}")
        for field, what in (("input", "input"), ("output", "output, its gold answer")):
            if not isinstance(sample.get(field), str):
                raise UserError(
                    f"{place} has no {what}, or one that is no text; give it one or take the sample out"
                )
            if not is_unicode(sample[field]):
                raise UserError(f"{place} has half a character (a lone surrogate) in its {field}; mend it or take the sample out")  # fmt: skip
        if sample["input"].strip() and not sample["output"].strip():
            raise UserError(f"{place} has an empty output, its gold answer; give it one or take the sample out")  # fmt: skip
        found.append(Sample(sample["input"], sample["output"]))
    return tuple(found)


def is_unicode(text: str) -> bool:
    """Whether a text can be written: JSON's escapes can also spell half a character."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _read_json(path: str | os.PathLike) -> Any:
    try:
        return json.loads(Path(path).read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise UserError(f"there is no task file {path}; tools/prepare_evaluation.py writes it") from None  # fmt: skip
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (byte {error.start}); write it anew") from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path} is not whole JSON (line {error.lineno}: {error.msg}); write it anew"
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _field(content: dict[str, Any], field: str, kind: type, path: str | os.PathLike) -> Any:
    if field not in content:
        raise UserError(f"{path} has no field {field}; is it a file of evaluation/?")
    value = content[field]
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UserError(f"{path}: {field} = {value!r} must be of the kind {kind.__name__}")
    return value


def _json_bytes(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, indent=4).encode("utf-8")
