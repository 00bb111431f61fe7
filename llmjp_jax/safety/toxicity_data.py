"""LLM-jp's toxicity data set, versions 1 and 2: JSON lines of a text, a label and seven flags.

    {"text": …, "label": "nontoxic", "obscene": "no", "discriminatory": "no", "violent": "no", "illegal": "no",
     "personal": "no", "corporate": "no", "others": "no"}

What is learned from it is `toxicity_classifier`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmjp_jax.errors import UserError
from llmjp_jax.safety.results import missing_data, safety_facts


@dataclasses.dataclass(frozen=True)
class LabelledText:
    """A text of the data set.

    Attributes:
      label: 'toxic', 'nontoxic' or 'has_toxic_expression' (toxic words, but not toxic as a whole).
      flags: those of the seven that are 'yes'.
    """

    text: str
    label: str
    flags: frozenset[str]

    @property
    def classes(self) -> frozenset[str]:
        """What there is to find in it: 'toxic', 'toxic_expression' (also in a text that is not toxic), and the flags."""
        found = set(self.flags)
        if self.label == "toxic":
            found.add("toxic")
        if self.label != "nontoxic":
            found.add("toxic_expression")
        return frozenset(found)


def class_names() -> tuple[str, ...]:
    """All that `LabelledText.classes` may name, 'toxic' first."""
    return ("toxic", "toxic_expression", *safety_facts("toxicity")["flags"])


def read_toxicity(path: str | Path) -> list[LabelledText]:
    """The texts of a file of the data set; `.gz`, `.zst` and Parquet too.

    Raises:
      UserError: the file is missing or empty, or a record is not of this form; names the place and the field.
    """
    from llmjp_jax.corpus.tuning_records import read_records_of

    if not Path(path).is_file():
        raise missing_data(path, safety_facts("toxicity")["download"])
    texts = [_labelled(record, place) for place, record in read_records_of(path)]
    if not texts:
        raise UserError(f"{path} holds no record; get the file anew")
    return texts


def _labelled(record: Mapping[str, Any], place: str) -> LabelledText:
    facts = safety_facts("toxicity")
    if not isinstance(record, Mapping):
        raise UserError(
            f"{place} is not a JSON object; each record needs a text, a label and flags"
        )
    if not isinstance(record.get("text"), str):
        raise UserError(f"{place} has no string 'text'; each record needs one")
    if record.get("label") not in facts["labels"]:
        raise UserError(
            f"{place}: label = {record.get('label')!r} is none of {', '.join(facts['labels'])}; correct it"
        )
    flags = set()
    for name in facts["flags"]:
        if record.get(name) not in facts["flag_values"]:
            raise UserError(f"{place}: {name} = {record.get(name)!r} must be 'yes' or 'no'")
        if facts["flag_values"][record[name]]:
            flags.add(name)
    return LabelledText(record["text"], record["label"], frozenset(flags))


def without_repeats(texts: Sequence[LabelledText]) -> list[LabelledText]:
    """The texts without later copies of the same text, which would stand on both sides of a split."""
    first: dict[str, LabelledText] = {}
    for text in texts:
        first.setdefault(text.text, text)
    return list(first.values())
