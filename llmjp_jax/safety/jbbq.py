"""JBBQ's questions: its JSON lines (BBQ's format), which answer is unknown and which one agrees with the stereotype.

    {"example_id": 0, "question_index": "1", "question_polarity": "neg", "context_condition": "ambig", "category": "Age",
     "answer_info": {"ans0": ["…", "old"], "ans1": ["…", "nonOld"], "ans2": ["…", "unknown"]},
     "additional_metadata": {"stereotyped_groups": ["old"], …}, "context": "…", "question": "…", "ans0": "…", "ans1": "…",
     "ans2": "…", "label": 2, "is_additional": 0}

How a model is asked is `jbbq_answers`; what is counted, `jbbq_scores`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmjp_jax.errors import UserError
from llmjp_jax.safety.results import missing_data, safety_facts

_POLARITIES, _CONDITIONS = ("neg", "nonneg"), ("ambig", "disambig")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BiasQuestion:
    """A question with three answers.

    Attributes:
      id: category and example_id, `Age-0`.
      template: its `question_index`: questions of one template differ in words and in the order of answers.
      polarity: 'neg' asks who does the bad thing, 'nonneg' the opposite.
      condition: 'ambig': the context does not tell, the right answer is the unknown one; 'disambig': it tells.
      answers: the three. label, unknown: places (0 to 2) of the right and of the unknown one.
      stereotype: place of the answer that agrees with the stereotype: to a 'neg' question the stereotyped group, to a 'nonneg'
        one the other group.
      additional: the question is JBBQ's own, not BBQ's.
    """

    id: str
    category: str
    template: str
    polarity: str
    condition: str
    context: str
    question: str
    answers: tuple[str, str, str]
    label: int
    unknown: int
    stereotype: int
    additional: bool

    @property
    def input(self) -> str:
        """Context, question and the numbered answers, as Nejumi writes them."""
        numbered = {f"ans{place}": answer for place, answer in enumerate(self.answers)}
        return safety_facts("jbbq")["input"].format(
            context=self.context, question=self.question, **numbered
        )


def jbbq_files(path: str | Path) -> list[Path]:
    """The files of a path: itself, or the `*.jsonl` of a folder and of those below.

    Raises:
      UserError: there is none.
    """
    path = Path(path)
    files = [path] if path.is_file() else sorted(path.glob("**/*.jsonl")) if path.is_dir() else []
    if not files:
        raise missing_data(path, safety_facts("jbbq")["download"])
    return files


def read_jbbq(files: Sequence[str | Path]) -> list[BiasQuestion]:
    """The questions of JBBQ's files, in order.

    Raises:
      UserError: a record is not of this form, or two have one id; names the place and the field.
    """
    from llmjp_jax.corpus.tuning_records import read_records_of

    questions: dict[str, BiasQuestion] = {}
    for path in files:
        for place, record in read_records_of(path):
            question = parse_question(record, place)
            if question.id in questions:
                raise UserError(f"{place}: there is a question {question.id} already; give each file once")  # fmt: skip
            questions[question.id] = question
    if not questions:
        raise UserError(f"{files[0]} holds no question; get the file anew")
    return list(questions.values())


def parse_question(record: Any, place: str) -> BiasQuestion:
    if not isinstance(record, Mapping):
        raise UserError(f"{place} is not a JSON object; each line must be a question")
    texts = {name: _text(record, name, place) for name in ("category", "context", "question", "ans0", "ans1", "ans2")}  # fmt: skip
    polarity = _one_of(record, "question_polarity", _POLARITIES, place)
    unknown = _unknown(record, place)
    target = _target(record, texts["category"], unknown, place)
    return BiasQuestion(
        id=f"{texts['category']}-{_number(record, 'example_id', place)}",
        category=texts["category"],
        template=_number(record, "question_index", place),
        polarity=polarity,
        condition=_one_of(record, "context_condition", _CONDITIONS, place),
        context=texts["context"],
        question=texts["question"],
        answers=(texts["ans0"], texts["ans1"], texts["ans2"]),
        label=int(_one_of(record, "label", (0, 1, 2, "0", "1", "2"), place)),
        unknown=unknown,
        stereotype=target if polarity == "neg" else 3 - unknown - target,
        additional=record.get("is_additional") in (1, "1", True),
    )


def _names(record: Mapping[str, Any], answer: int, place: str) -> list[str]:
    """What `answer_info` says of an answer: its text and its group."""
    info = record.get("answer_info")
    names = info.get(f"ans{answer}") if isinstance(info, Mapping) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{place}: answer_info must say a list of strings for ans{answer}")
    return names


def _unknown(record: Mapping[str, Any], place: str) -> int:
    known = {_plain(name) for name in safety_facts("jbbq")["unknown_names"]}
    found = [n for n in range(3) if any(_plain(name) in known for name in _names(record, n, place))]
    if len(found) != 1:
        raise UserError(
            f"{place}: answer_info names {len(found)} answers as unknown; there must be one, such as ['…', 'unknown']"
        )
    return found[0]


def _plain(name: str) -> str:
    return name.casefold().replace("’", "'").strip()


def _target(record: Mapping[str, Any], category: str, unknown: int, place: str) -> int:
    """The answer of the stereotyped group: the only one whose group, else whose text, is the first or another of them."""
    facts = safety_facts("jbbq")
    metadata = next((record[name] for name in facts["metadata_fields"] if isinstance(record.get(name), Mapping)), {})  # fmt: skip
    groups = metadata.get("stereotyped_groups") or facts["default_groups"].get(category, [])
    if not isinstance(groups, list):
        groups = [groups]
    wanted = [facts["group_names"].get(group, group) for group in groups]
    others = [answer for answer in range(3) if answer != unknown]
    for some in (wanted[:1], wanted):
        for part in (slice(1, 2), slice(0, 2)):  # its group alone, then its text too
            found = [
                answer
                for answer in others
                if {facts["group_names"].get(n, n) for n in _names(record, answer, place)[part]}
                & set(some)  # fmt: skip
            ]
            if len(found) == 1:
                return found[0]
    raise UserError(
        f"{place}: stereotyped_groups = {groups!r} does not single out one of the answers in answer_info; correct it"
    )


def _text(record: Mapping[str, Any], name: str, place: str) -> str:
    if not isinstance(record.get(name), str) or not record[name]:
        raise UserError(f"{place}: {name} = {record.get(name)!r} must be a string that is not empty")  # fmt: skip
    return record[name]


def _number(record: Mapping[str, Any], name: str, place: str) -> str:
    value = record.get(name)
    if type(value) is not int and not (isinstance(value, str) and value):
        raise UserError(f"{place}: {name} = {value!r} must be a number")
    return str(value)


def _one_of(record: Mapping[str, Any], name: str, values: Sequence[Any], place: str) -> Any:
    value = record.get(name)
    if isinstance(value, bool) or value not in values:
        said = ", ".join(map(str, dict.fromkeys(str(each) for each in values)))
        raise UserError(f"{place}: {name} = {value!r} is none of {said}; correct it")
    return value
