"""What is asked of a model: for each task its items, shots, prompts and settings, before any model is loaded."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.metrics import find_metric
from llmjp_jax.evaluation.prompts import PromptTemplate, build_prompt, find_template
from llmjp_jax.evaluation.task_files import (
    SPLITS,
    Sample,
    TaskFile,
    evaluation_path,
    read_task_file,
)
from llmjp_jax.evaluation.tasks import find_task, load_tasks, select_tasks

# A tuned model's own template in place of llm-jp-eval's: instruction and shots become turns of a conversation.
CHAT = "chat"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedTask:
    """A task as it will be asked.

    Attributes:
      name: of the task.
      category: of llm-jp-eval's averages; None for a task that is in none.
      file: what stands in its file, cut to the samples that are asked.
      shots: the first samples of the train split, the same for every item; none where the gold answer is a program's tests.
      metrics: names, those of the file.
      data_version: sha256 of the task's file, the first 12 digits.
    """

    name: str
    category: str | None
    file: TaskFile
    shots: tuple[Sample, ...]
    metrics: tuple[str, ...]
    split: str
    data_version: str

    def prompt(self, index: int, template: str | PromptTemplate, shots: int | None = None) -> str:
        """The prompt of an item, with its first `shots` shots (None: all)."""
        chosen = self.shots if shots is None else self.shots[:shots]
        return build_prompt(self.file.instruction, chosen, self.file.samples[index].input, template)

    @property
    def runs_code(self) -> bool:
        """Whether the answers are programs, which a metric runs."""
        return any(find_metric(metric).runs_code for metric in self.metrics)

    @property
    def golds(self) -> list[str]:
        return [sample.output for sample in self.file.samples]


def plan_tasks(
    data_dir: str | Path,
    tasks: str | Sequence[str],
    *,
    split: str,
    shots: int,
    samples: int | None,
    strict: bool,
) -> tuple[list[PlannedTask], list[str]]:
    """The tasks to ask, and sentences about those that are left out.

    Args:
      data_dir: the folder that holds `evaluation/{train,dev,test}/TASK.json`, as `tools/prepare_evaluation.py` writes it.
      tasks: 'all', 'all-1.4', 'present' (every file of the split), a name or several. A name is that of a known task or of
        a file there.
      split: of the items. shots: of each prompt, from train. samples: the first so many items; None: all.
      strict: a task of 'all' whose file is missing is an error; else it is left out.

    Raises:
      UserError: an unknown task, metric or split, a file that is missing, broken or too short.
    """
    if split not in SPLITS:
        raise UserError(f"split = {split!r} must be one of {', '.join(SPLITS)}")
    if type(shots) is not int or shots < 0:
        raise UserError(f"shots = {shots!r} must be a whole number of at least 0")
    if samples is not None and (type(samples) is not int or samples < 1):
        raise UserError(f"samples = {samples!r} must be None (all) or a whole number of at least 1")
    root = Path(data_dir) / "evaluation"
    if not root.is_dir():
        raise UserError(
            f"{data_dir} has no folder evaluation; make it with tools/prepare_evaluation.py --output_dir={data_dir}"
        )
    planned, missing = [], []
    for name in _names(tasks, root, split):
        path = evaluation_path(data_dir, split, name)
        if path.is_file():
            planned.append(_planned(name, path, data_dir, split, shots, samples))
            continue
        sentence = f"{path} is missing; make it with tools/prepare_evaluation.py --task={name} --output_dir={data_dir}"
        if strict:
            raise UserError(sentence)
        missing.append(sentence)
    if not planned:
        raise UserError(f"none of the tasks has a file in {root / split}; the first of them: {missing[0]}")  # fmt: skip
    return planned, missing


def _names(tasks, root: Path, split: str) -> list[str]:
    given = [tasks] if isinstance(tasks, str) else tasks
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) for name in given):
        raise UserError(
            f"tasks = {tasks!r} must be 'all', 'all-1.4', 'present', a name, or a list of names"
        )
    names = [name for one in given for name in _meant(one, root, split)]
    if len(set(names)) < len(names) or not names:
        raise UserError(f"tasks = {tasks!r} must name one task or more, each once")
    return names


def _meant(name: str, root: Path, split: str) -> list[str]:
    if name in ("all", "all-1.4"):
        return [task.name for task in select_tasks(name)]
    if name == "present":
        found = sorted(path.stem for path in (root / split).glob("*.json"))
        if not found:
            raise UserError(f"{root / split} holds no task; make one with tools/prepare_evaluation.py")  # fmt: skip
        known = [name for name in load_tasks() if name in found]
        return known + [name for name in found if name not in known]
    if not any((root / each / f"{name}.json").is_file() for each in SPLITS):
        find_task(name)
    return [name]


def _planned(name, path, data_dir, split, shots, samples) -> PlannedTask:
    file = read_task_file(path)
    known = load_tasks().get(name)
    for metric in file.metrics:
        find_metric(metric)
    train: tuple[Sample, ...] = ()
    if any(find_metric(metric).runs_code for metric in file.metrics):
        shots = 0  # what stands in its file beside a question is the tests, and no answer
    if shots:
        source = evaluation_path(data_dir, "train", name)
        if not source.is_file():
            raise UserError(f"{source} is missing, and the shots of {name} come from it; make it, or set shots to 0")  # fmt: skip
        train = read_task_file(source).samples
        if len(train) < shots:
            raise UserError(f"{source} has {len(train)} samples, and {shots} shots are asked for; ask for fewer")  # fmt: skip
    return PlannedTask(
        name=name,
        category=known.category if known else None,
        file=dataclasses.replace(file, samples=file.samples[:samples]),
        shots=tuple(train[:shots]),
        metrics=tuple(file.metrics),
        split=split,
        data_version=hashlib.sha256(path.read_bytes()).hexdigest()[:12],
    )


def template_sha256(template: str | PromptTemplate, chat: str | None = None) -> str:
    """Twelve hex digits that stand for the text around the items; `chat`: the conversation template of 'chat'."""
    if template == CHAT:
        from llmjp_jax.conversations import get_template

        text = get_template(chat).chat_template
        return hashlib.sha256(text.encode()).hexdigest()[:12]
    return find_template(template).sha256[:12]


def fingerprint(parts: dict) -> str:
    """Sixteen hex digits of anything that JSON holds."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
