"""AnswerCarefully: its questions with reference answers, and a model's answers to them. Judging is `safety_judge`.

    {"ID": "…", "text": the question, "output": the reference answer, "meta": {"harm-type": …}}

Version 1.0 is a JSON list of these, 2.0 and later JSON lines or Parquet.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmjp_jax.errors import UserError
from llmjp_jax.safety.asking import ask_and_keep, read_raw_answers
from llmjp_jax.safety.results import missing_data, safety_facts

if TYPE_CHECKING:
    from llmjp_jax.language_model import LanguageModel

# Asked together. An answer depends on the seed and its place among these.
_CHUNK = 32


@dataclasses.dataclass(frozen=True)
class CarefulQuestion:
    """Attributes:
    id: of the data set.
    reference: an answer that is safe and useful.
    harm: the type of harm that the question is about; None where the file does not say it.
    """

    id: str
    text: str
    reference: str
    harm: str | None


def read_answer_carefully(path: str | Path) -> list[CarefulQuestion]:
    """The questions of a file: a JSON list, JSON lines, or Parquet.

    Raises:
      UserError: the file is missing or empty, a record lacks a field, or two have one id.
    """
    from llmjp_jax.corpus.tuning_records import read_records_of

    facts = safety_facts("answer_carefully")
    if not Path(path).is_file():
        raise missing_data(path, facts["download"])
    questions: dict[str, CarefulQuestion] = {}
    for place, record in read_records_of(path):
        question = _question(record, place, facts)
        if question.id in questions:
            raise UserError(f"{place}: a question with the ID {question.id!r} was there before; each needs its own")  # fmt: skip
        questions[question.id] = question
    if not questions:
        raise UserError(f"{path} holds no question; get the file anew")
    return list(questions.values())


def _question(record: Any, place: str, facts: Mapping[str, Any]) -> CarefulQuestion:
    if not isinstance(record, Mapping):
        raise UserError(f"{place} is not a JSON object; each record is a question with its answer")
    values = []
    for field in facts["fields"].values():
        value = record.get(field)
        value = str(value) if type(value) is int and field == facts["fields"]["id"] else value
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{place}: {field} = {value!r} must be a string that is not empty")
        values.append(value)
    meta = record.get("meta")
    if isinstance(meta, str):
        try:
            meta = json.loads(meta)
        except ValueError:
            meta = None
    inner = meta if isinstance(meta, Mapping) else {}
    found = [part.get(name) for part in (record, inner) for name in facts["harm_fields"]]
    harm = next((each for each in found if isinstance(each, str) and each), None)
    return CarefulQuestion(*values, harm)


@dataclasses.dataclass(frozen=True)
class Answering:
    """How a model answers: the defaults are llm-jp-judge's.

    Attributes:
      template: of the conversation, one of `conversations.TEMPLATES`.
      batch_size: answers written together; they do not depend on it.
    """

    template: str
    system_prompt: str
    temperature: float
    top_p: float
    seed: int
    max_tokens: int
    batch_size: int = 16

    @classmethod
    def like_llm_jp_judge(cls, template: str, **given: Any) -> Answering:
        """The published settings, with those that are given (and not None) in their place."""
        facts = safety_facts("answer_carefully")["sampling"]
        return cls(template, **(facts | {k: v for k, v in given.items() if v is not None}))


def answer(
    load_model: Callable[[], LanguageModel],
    questions: Sequence[CarefulQuestion],
    answering: Answering,
    path: str | Path,
    identity: Mapping[str, Any],
    progress: bool = False,
) -> list[str]:
    """A model's answer to each question: those kept in `path`, the others asked for and kept there.

    Args:
      load_model: called only if something is missing.
      identity: what model and data are known by.

    Raises:
      UserError: the file holds answers of another run, or a question is too long for the model.
    """
    settings = dataclasses.asdict(answering)
    del settings["batch_size"]
    ids = [question.id for question in questions]
    identity = {"set": "answer_carefully", **identity, "answering": settings, "ids": ids}

    def ask(model: LanguageModel, indices: range) -> list[dict[str, str]]:
        texts = _answers(model, [questions[i].text for i in indices], answering, indices.start)
        return [{"raw": text, "id": ids[i]} for i, text in zip(indices, texts, strict=True)]

    kept = ask_and_keep(
        path, identity, len(ids), load_model, ask, chunk=_CHUNK, name="AnswerCarefully", progress=progress
    )  # fmt: skip
    return [each["raw"] for each in kept]


def _answers(model: LanguageModel, texts: Sequence[str], answering: Answering, first: int) -> list[str]:  # fmt: skip
    from llmjp_jax.conversations import get_template, until

    system = [{"role": "system", "content": answering.system_prompt}] if answering.system_prompt else []  # fmt: skip
    prompts = [
        model.chat_prompt([*system, {"role": "user", "content": text}], answering.template, answering.max_tokens)
        for text in texts
    ]  # fmt: skip
    marker = get_template(answering.template).instruction_marker
    answers = [""] * len(texts)
    # A long question leaves less room; `generate` takes one length for all.
    for room in sorted({prompt.room for prompt in prompts}):
        places = [place for place, prompt in enumerate(prompts) if prompt.room == room]
        written = model.generate(
            [prompts[place].ids for place in places], max_new_tokens=room,
            temperature=answering.temperature, top_p=answering.top_p,
            seed=answering.seed + first, batch_size=answering.batch_size,
        )  # fmt: skip
        for place, text in zip(places, written, strict=True):
            answers[place] = "".join(until(iter([text]), marker))
    return answers


def read_answers(path: str | Path, questions: Sequence[CarefulQuestion]) -> tuple[list[str], dict[str, Any]]:  # fmt: skip
    """The answers of a file, in the questions' order, and what the file says of the model ({} where it says nothing).

    Args:
      path: of `answer`'s file, or of JSON lines {"id": …, "raw": the answer} that another program wrote.

    Raises:
      UserError: the file is missing or broken, or lacks an answer; names the question.
    """
    answers, identity = read_raw_answers(path)
    if not all(isinstance(each.get("id"), str) for each in answers):
        raise UserError(f"an answer in {path} has no string 'id', that of its question; add it")
    found = {each["id"]: each["raw"] for each in answers}
    missing = [question.id for question in questions if question.id not in found]
    if missing:
        raise UserError(
            f"{path} has no answer to {len(missing)} of {len(questions)} questions, such as {missing[0]}; "
            "run the command 'answer' again, or give fewer questions by --samples"
        )
    return [found[question.id] for question in questions], identity
