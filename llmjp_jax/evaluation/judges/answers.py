"""Lets a model answer the questions of a benchmark: its template, a temperature by category, one turn after the other.

Answers are kept as they come. What a kill left is taken up where it stopped, and the answers are those of a run without one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmjp_jax.conversations import get_template, until
from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.judges.benchmarks import AnswerSettings
from llmjp_jax.evaluation.judges.records import Question, answer_record, read_answers
from llmjp_jax.files import atomic_write

# Answers that are sampled together and written together; fixed, so that a text does not depend on where a kill fell.
_TOGETHER = 16
# The room behind a prompt is rounded down to this many tokens, so that prompts of about one length are decoded together.
_ROOM_STEP = 64


@dataclasses.dataclass(frozen=True)
class Answering:
    """How the model is asked.

    Attributes:
      name: of the model in the records.
      template: one of `conversations.TEMPLATES`.
      settings: of the benchmark.
      identity: JSON values that tell the model from others, kept beside the answers.
      temperature: one for all categories; None: by category.
      batch_size: answers decoded together; they do not depend on it.
    """

    name: str
    template: str
    settings: AnswerSettings
    identity: Mapping[str, Any]
    temperature: float | None = None
    batch_size: int = 16

    def temperature_of(self, category: str) -> float:
        return self.settings.temperatures[category] if self.temperature is None else self.temperature  # fmt: skip

    def config(self, questions: Sequence[Question]) -> dict[str, Any]:
        text = json.dumps([dataclasses.astuple(question)[:3] for question in questions], ensure_ascii=False)  # fmt: skip
        settings = dataclasses.asdict(self.settings)
        if self.temperature is not None:
            settings["temperatures"] = self.temperature
        return {
            "model_id": self.name,
            "model": dict(self.identity),
            "template": self.template,
            "generation_config": settings,
            "questions_sha256": hashlib.sha256(text.encode()).hexdigest()[:12],
        }


def answer_questions(load: Callable[[], Any], questions: Sequence[Question], answering: Answering, output: str | os.PathLike,
                     progress: bool = False) -> int:  # fmt: skip
    """Appends the answers that the file `output` has not yet, and says how many prompts lost a turn for lack of room.

    Beside it, in OUTPUT.config.json, stands how they were made.

    Args:
      load: gives the model, a `LanguageModel` or anything with its `chat_prompt` and `generate`; called only if an answer is
        missing.

    Raises:
      UserError: `output` has answers of another model or made in another way, or a question is too long for the model.
    """
    from tqdm import tqdm

    output = Path(output)
    done = _started(output, answering.config(questions))
    if all(question.id in done for question in questions):
        return 0
    model, dropped = load(), 0
    with tqdm(total=len(questions), initial=len(done), unit="question", disable=not progress) as bar:  # fmt: skip
        for number, group in enumerate(_groups(questions, answering)):
            left = [question for question in group if question.id not in done]
            if not left:
                continue
            turns, lost = _answered(model, group, answering, answering.settings.seed + number)
            dropped += lost
            by_id = {question.id: found for question, found in zip(group, turns, strict=True)}
            lines = [answer_record(question, answering.name, by_id[question.id]) for question in left]  # fmt: skip
            _append(output, lines)
            bar.update(len(left))
    return dropped


def _started(output: Path, config: Mapping[str, Any]) -> set[str]:
    """The ids of the questions that are answered, after a check that they were answered in this way."""
    config_file = output.with_name(output.name + ".config.json")
    if output.exists():
        content = output.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):  # a line that a kill cut short
            os.truncate(output, len(whole))
        if whole:
            found = _read_config(config_file)
            other = sorted(key for key in {*found, *config} if found.get(key) != config.get(key))
            if other:
                raise UserError(
                    f"{output} holds answers that were made in another way ({', '.join(other)} differ); "
                    "give another --output, or remove it"
                )
            return set(read_answers(output).turns)
    with atomic_write(config_file, "w") as file:
        json.dump(config, file, ensure_ascii=False, indent=2)
    return set()


def _read_config(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UserError(f"{path} is broken; remove it and the answers that it stands beside")
    return found


def _append(output: Path, records: Sequence[Mapping[str, Any]]) -> None:
    with output.open("ab") as file:
        file.write("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode())  # fmt: skip
        file.flush()
        os.fsync(file.fileno())


def _groups(questions: Sequence[Question], answering: Answering) -> Iterator[list[Question]]:
    """Questions of one temperature, a few at a time, the same in every run."""
    by_temperature: dict[float, list[Question]] = {}
    for question in questions:
        temperature = answering.temperature_of(question.category)
        by_temperature.setdefault(temperature, []).append(question)
    for chosen in by_temperature.values():
        for first in range(0, len(chosen), _TOGETHER):
            yield chosen[first : first + _TOGETHER]


def _answered(model, group: Sequence[Question], answering: Answering, seed: int) -> tuple[list[list[str]], int]:  # fmt: skip
    """An answer to each turn of each question, and how many prompts lost a turn."""
    marker = get_template(answering.template).instruction_marker
    turns: list[list[str]] = [[] for _ in group]
    dropped = 0
    for turn in range(len(group[0].turns)):
        prompts = []
        for question, before in zip(group, turns, strict=True):
            messages = []
            for said, answered in itertools.zip_longest(question.turns[: turn + 1], before):
                messages.append({"role": "user", "content": said})
                if answered is not None:
                    messages.append({"role": "assistant", "content": answered})
            prompts.append(_prompt(model, question, messages, answering))
        dropped += sum(prompt.dropped > 0 for prompt in prompts)
        for found, text in zip(turns, _generated(model, group, prompts, answering, seed), strict=True):  # fmt: skip
            found.append("".join(until(iter([text]), marker)))
    return turns, dropped


def _prompt(model, question: Question, messages, answering: Answering):
    settings = answering.settings
    try:
        prompt = model.chat_prompt(messages, answering.template, settings.max_new_tokens)
    except UserError as error:
        raise UserError(f"question {question.id}: {error}") from None
    if settings.max_length is None:
        return prompt
    room = settings.max_length - len(prompt.ids)
    if room < 1:
        raise UserError(
            f"question {question.id} makes a prompt of {len(prompt.ids)} tokens, and the benchmark's longest sequence is {settings.max_length}; leave it out"
        )
    return dataclasses.replace(prompt, room=min(prompt.room, room))


def _generated(model, group, prompts, answering: Answering, seed: int) -> list[str]:
    settings = answering.settings
    by_room: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        room = prompt.room
        if room < settings.max_new_tokens:
            room = max(room // _ROOM_STEP * _ROOM_STEP, min(room, _ROOM_STEP))
        by_room.setdefault(room, []).append(index)
    texts = [""] * len(prompts)
    for room, indices in by_room.items():
        generated = model.generate(
            [list(prompts[index].ids) for index in indices],
            max_new_tokens=room,
            temperature=answering.temperature_of(group[0].category),
            top_p=settings.top_p,
            seed=seed,
            batch_size=answering.batch_size,
        )
        for index, text in zip(indices, generated, strict=True):
            texts[index] = text
    return texts
