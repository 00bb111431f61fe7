"""Questions, answers and judge prompts in FastChat's JSON lines, which both benchmarks use.

question.jsonl   {"question_id": 61, "category": "coding", "turns": ["…"], "reference": ["…"]}     reference where there is one
answers          {"question_id": 61, "answer_id": "…", "model_id": "…", "choices": [{"index": 0, "turns": ["…"]}], "tstamp": 0.0}
judge prompts    {"name": "pair", "type": "pairwise", "system_prompt": "…", "prompt_template": "…{question}…", "output_format": "[[A]]"}
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import os
import string
import time
from collections.abc import Mapping, Sequence
from typing import Any

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.judges.benchmarks import Benchmark
from llmjp_jax.evaluation.judges.requests import read_json_lines
from llmjp_jax.evaluation.task_files import is_unicode


@dataclasses.dataclass(frozen=True)
class Question:
    """Attributes:
    id: as text; files write the same one now as a number, now as text.
    turns: the user's messages.
    reference: an answer a turn, or none at all.
    """

    id: str
    category: str
    turns: tuple[str, ...]
    reference: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Answers:
    """One model's answers: by question id, one text a turn."""

    model: str
    turns: Mapping[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class JudgePrompt:
    """A system message and a user's message with places such as {question} and {answer_a}."""

    name: str
    system_prompt: str
    prompt_template: str

    def messages(self, **fields: str) -> tuple[dict[str, str], ...]:
        """What the judge reads.

        Raises:
          UserError: the template has a place that none of `fields` fills.
        """
        try:
            text = self.prompt_template.format(**fields)
        except (KeyError, IndexError, ValueError) as error:
            raise UserError(
                f"the judge prompt {self.name!r} cannot be filled ({error!r}); its places may be {', '.join(fields)}"
            ) from None
        user = {"role": "user", "content": text}
        if not self.system_prompt:
            return (user,)
        return ({"role": "system", "content": self.system_prompt}, user)

    @property
    def places(self) -> frozenset[str]:
        return frozenset(name for _, name, _, _ in string.Formatter().parse(self.prompt_template) if name)  # fmt: skip


def read_questions(path: str | os.PathLike, benchmark: Benchmark) -> list[Question]:
    """The questions of a file, in its order.

    Raises:
      UserError: a field is missing or of another kind, an id stands twice, a category is unknown, a question has too few
        turns; names the line.
    """
    questions: dict[str, Question] = {}
    for place, line in read_json_lines(path):
        id = _id(line, place)
        category, turns = line.get("category"), line.get("turns")
        if category not in benchmark.categories:
            near = difflib.get_close_matches(str(category), benchmark.categories, 1, cutoff=0)
            raise UserError(
                f"{place} has the category {category!r}, which {benchmark.title} has not; the nearest is {near[0]!r}"
            )
        if not _texts(turns) or len(turns) != benchmark.turns:
            raise UserError(
                f"{place} must have {benchmark.turns} texts in 'turns', as questions of {benchmark.title} do"
            )
        reference = line.get("reference") or ()
        reference = (reference,) if isinstance(reference, str) else tuple(reference)
        if id in questions:
            raise UserError(f"{place} has the question_id {id} a second time; give each its own")
        questions[id] = Question(id, category, tuple(turns), reference)
    if not questions:
        raise UserError(f"{path} has no questions; give the benchmark's questions")
    return list(questions.values())


def read_answers(path: str | os.PathLike) -> Answers:
    """One model's answers.

    Raises:
      UserError: a field is missing or of another kind, a question is answered twice, or by two models; names the line.
    """
    turns: dict[str, tuple[str, ...]] = {}
    models: set[str] = set()
    for place, line in read_json_lines(path):
        id = _id(line, place)
        try:
            found = line["choices"][0]["turns"]
        except (KeyError, IndexError, TypeError):
            found = None
        if not _texts(found):
            raise UserError(f"{place} has no list of texts in choices[0].turns")
        if id in turns:
            raise UserError(f"{place} answers question {id} a second time; keep one answer")
        turns[id] = tuple(found)
        models.add(str(line.get("model_id")))
    if len(models) != 1:
        raise UserError(
            f"{path} has answers of {', '.join(sorted(models)) or 'no model'}; give a file with one model_id"
        )
    return Answers(models.pop(), turns)


def answer_record(question: Question, model: str, turns: Sequence[str]) -> dict[str, Any]:
    """An answer as a line of a file of answers."""
    digest = hashlib.sha256(repr((model, question.id, tuple(turns))).encode()).hexdigest()[:22]
    return {
        "question_id": int(question.id) if question.id.isdecimal() else question.id,
        "answer_id": digest,
        "model_id": model,
        "choices": [{"index": 0, "turns": list(turns)}],
        "tstamp": time.time(),
    }


def with_references(questions: Sequence[Question], benchmark: Benchmark, references: Answers | None) -> list[Question]:  # fmt: skip
    """The questions with the answers that the judge is shown, of `references`, else of the questions' file.

    Raises:
      UserError: a question whose category needs one has none, or too few turns of it.
    """
    found = []
    for question in questions:
        if question.category not in benchmark.reference_categories:
            found.append(question)
            continue
        reference = question.reference
        if references is not None:
            reference = references.turns.get(question.id, reference)
        if len(reference) < benchmark.turns:
            raise UserError(
                f"question {question.id} ({question.category}) has no reference answer to each of its turns; give --references"
            )
        found.append(dataclasses.replace(question, reference=reference))
    return found


def check_answered(questions: Sequence[Question], answers: Answers, turns: int, path: str) -> None:
    """Raises a UserError where a question has no answer, or one with too few turns."""
    missing = [question.id for question in questions if len(answers.turns.get(question.id, ())) < turns]  # fmt: skip
    if missing:
        raise UserError(
            f"{path} has no whole answer to {len(missing)} of {len(questions)} questions ({', '.join(missing[:5])} …); "
            "let the model answer all of them"
        )


def read_prompts(path: str | os.PathLike) -> dict[str, JudgePrompt]:
    """The judge prompts of a file by name.

    Raises:
      UserError: a field is missing or of another kind; names the line.
    """
    prompts = {}
    for place, line in read_json_lines(path):
        fields = [line.get(name) for name in ("name", "system_prompt", "prompt_template")]
        if not all(isinstance(field, str) for field in fields) or not fields[0]:
            raise UserError(f"{place} must have the texts name, system_prompt and prompt_template")
        prompt = JudgePrompt(*fields)
        try:
            prompt.places  # noqa: B018
        except ValueError as error:
            raise UserError(f"{place} has a prompt_template with a stray brace ({error})") from None
        prompts[prompt.name] = prompt
    return prompts


def find_prompt(prompts: Mapping[str, JudgePrompt], name: str) -> JudgePrompt:
    """The prompt of that name.

    Raises:
      UserError: there is none; names the nearest.
    """
    if name in prompts:
        return prompts[name]
    near = difflib.get_close_matches(name, prompts, 1, cutoff=0)
    nearest = f"; the nearest is {near[0]!r}" if near else ""
    raise UserError(
        f"the file of judge prompts has none named {name!r}{nearest}; give the benchmark's own by --prompts"
    )


def _id(line: Mapping[str, Any], place: str) -> str:
    id = line.get("question_id")
    if isinstance(id, bool) or not isinstance(id, int | str) or id == "":
        raise UserError(f"{place} has no question_id")
    return str(id)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) and is_unicode(text) for text in value)  # fmt: skip
