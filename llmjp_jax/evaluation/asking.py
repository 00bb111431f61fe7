"""Prompts become token ids that fit, and a model's answers to them are kept as they come."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.answers import answer_is_whole
from llmjp_jax.evaluation.answers_file import AnswersFile
from llmjp_jax.evaluation.plan import CHAT, PlannedTask, fingerprint
from llmjp_jax.evaluation.prompts import PromptTemplate

if TYPE_CHECKING:
    from llmjp_jax.language_model import LanguageModel
    from llmjp_jax.tokenizer import Vocabulary

TOO_LONG = ("error", "fewer_shots")
# Batches that are asked for at once: a kill costs at most so many.
_BATCHES = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asking:
    """How a model is asked.

    Attributes:
      template: of the prompts, 'chat' for the model's own conversation template.
      chat_template: which one 'chat' means.
      too_long: what happens to a prompt that leaves no room for its answer: 'error', or 'fewer_shots', which leaves out
        its last shots, and where even none is too many the start of the prompt.
      batch_size: prompts decoded together; answers do not depend on it.
      output_length: a task's longest answer in tokens; None: what its file says.
    """

    template: str | PromptTemplate = "llm_jp_eval_1_3"
    chat_template: str | None = None
    too_long: str = "error"
    batch_size: int = 16
    output_length: int | None = None

    def __post_init__(self):
        if self.too_long not in TOO_LONG:
            raise UserError(f"too_long = {self.too_long!r} must be one of {', '.join(TOO_LONG)}")
        for name in ("batch_size", "output_length"):
            value = getattr(self, name)
            if not (value is None and name == "output_length") and (type(value) is not int or value < 1):  # fmt: skip
                raise UserError(f"{name} = {value!r} must be a whole number of at least 1")

    def length_of(self, task: PlannedTask) -> int:
        return self.output_length or task.file.output_length


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A prompt as a model reads it.

    Attributes:
      text: of the whole prompt. ids: its tokens.
      shots: how many of the shots it has.
      cut: tokens that were left out at its start.
    """

    text: str
    ids: tuple[int, ...]
    shots: int
    cut: int = 0


def prompts_of(
    vocabulary: Vocabulary, longest: int, task: PlannedTask, asking: Asking
) -> list[Prompt]:
    """The prompts of a task's items, each short enough for a model whose longest sequence is `longest`.

    Raises:
      UserError: a prompt is too long and `asking.too_long` is 'error', or an answer alone is.
    """
    room = longest - asking.length_of(task)
    if room < 1:
        raise UserError(
            f"answers of {task.name} may have {asking.length_of(task)} tokens, and the model's longest sequence has "
            f"{longest}; set output_length to fewer"
        )
    texts, encoded = _encoded(
        vocabulary, task, asking, range(len(task.file.samples)), len(task.shots)
    )
    prompts = []
    for index, (text, ids) in enumerate(zip(texts, encoded, strict=True)):
        if len(ids) > room and asking.too_long == "error":
            raise UserError(
                f"the prompt of item {index} of {task.name} has {len(ids)} tokens, and the model's longest sequence of "
                f"{longest} leaves room for {room} beside its answer; ask for fewer shots, or set too_long = 'fewer_shots'"
            )
        fitted = Prompt(text, tuple(ids), len(task.shots))
        prompts.append(
            fitted if len(ids) <= room else _shortened(vocabulary, task, index, asking, room)
        )
    return prompts


def _encoded(vocabulary, task, asking, indices, shots) -> tuple[list[str], list[list[int]]]:
    """The texts and token ids of prompts with `shots` shots."""
    if asking.template != CHAT:
        texts = [task.prompt(index, asking.template, shots) for index in indices]
        return texts, vocabulary.encode_batch(texts)
    from llmjp_jax.conversations import encode_prompt, get_template

    template = get_template(asking.chat_template)
    conversations = [_conversation(task, index, shots) for index in indices]
    texts = [template.render(each, generation_prompt=True).text for each in conversations]
    return texts, [encode_prompt(vocabulary, each, template) for each in conversations]


def _conversation(task: PlannedTask, index: int, shots: int):
    """Instruction and first input, answer, next input, answer ... as the turns of user and assistant."""
    from llmjp_jax.conversations import Conversation, Turn

    chosen = task.shots[:shots]
    inputs = [*(shot.input for shot in chosen), task.file.samples[index].input]
    turns = [Turn("user", task.file.instruction)]
    for shot, following in zip(chosen, inputs[1:], strict=True):
        turns += [Turn("assistant", shot.output), Turn("user", following)]
    return Conversation(tuple(turns), input=inputs[0] or None)


def _shortened(vocabulary, task, index, asking, room) -> Prompt:
    for shots in range(len(task.shots) - 1, -1, -1):
        (text,), (ids,) = _encoded(vocabulary, task, asking, [index], shots)
        if len(ids) <= room:
            return Prompt(text, tuple(ids), shots)
    if not task.shots:
        (text,), (ids,) = _encoded(vocabulary, task, asking, [index], 0)
    return Prompt(text, tuple(ids[len(ids) - room :]), 0, len(ids) - room)


def ask(
    model: LanguageModel,
    task: PlannedTask,
    asking: Asking,
    path: Path,
    model_identity: Mapping[str, Any],
    progress: bool,
) -> tuple[list[Prompt], list[str]]:
    """The prompts and the model's greedy answers, those kept in `path` and the others asked for and kept there.

    Raises:
      UserError: as `prompts_of` and `AnswersFile`.
    """
    prompts = prompts_of(model.vocabulary, model.config.max_length, task, asking)
    length = asking.length_of(task)
    identity = {
        "task": task.name,
        "model": dict(model_identity),
        "prompts": fingerprint([list(prompt.ids) for prompt in prompts]),
        "output_length": length,
    }
    kept = AnswersFile(path, identity, len(prompts))
    # The longest first: if the memory does not suffice it shows at once. Neighbours have like lengths.
    order = sorted(kept.missing, key=lambda index: -len(prompts[index].ids))
    size = asking.batch_size * _BATCHES
    with tqdm(total=len(prompts), initial=len(prompts) - len(order), unit="answer", desc=task.name, disable=not progress) as bar:  # fmt: skip
        for first in range(0, len(order), size):
            part = order[first : first + size]
            answers = model.generate(
                [list(prompts[index].ids) for index in part],
                max_new_tokens=length,
                batch_size=asking.batch_size,
                enough=None if task.runs_code else answer_is_whole,
            )
            kept.add({i: {"raw": answer} for i, answer in zip(part, answers, strict=True)})
            bar.update(len(part))
    return prompts, [kept.answers[index]["raw"] for index in range(len(prompts))]


def model_identity(model_dir: str | Path, step: int | None, dtype: str | None) -> dict[str, Any]:
    """What a model is known by from one start to the next: its place, step, and the sizes and times of its files.

    An adapter's or a run's base is not looked at.
    """
    directory = Path(model_dir).resolve()
    inner = directory if step is None else directory / "checkpoints" / str(step)
    files = sorted(path for path in inner.rglob("*") if path.is_file())
    stamps = [
        [str(path.relative_to(inner)), path.stat().st_size, path.stat().st_mtime_ns]
        for path in files
    ]
    digest = hashlib.sha256(json.dumps(stamps).encode()).hexdigest()[:16]
    return {"path": str(directory), "step": step, "dtype": dtype, "files": digest}


def shortened(prompts: Sequence[Prompt], shots: int) -> dict[str, int]:
    """How many prompts have fewer than `shots` shots, and how many lost their start; empty where none."""
    fewer = sum(prompt.shots < shots for prompt in prompts)
    cut = sum(prompt.cut > 0 for prompt in prompts)
    return {name: count for name, count in (("fewer_shots", fewer), ("cut", cut)) if count}
