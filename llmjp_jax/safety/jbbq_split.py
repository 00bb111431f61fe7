"""Nejumi's split of JBBQ: whole templates go to train, dev or test, so that no shot is of a template that is asked."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from llmjp_jax.errors import UserError
from llmjp_jax.safety.jbbq import BiasQuestion
from llmjp_jax.safety.results import safety_facts

SPLITS = ("all", "dev", "test")


def select_questions(
    questions: Sequence[BiasQuestion], split: str, shots: int, samples: int | None
) -> tuple[list[BiasQuestion], dict[str, tuple[BiasQuestion, ...]]]:
    """The questions to ask, and the shots of each category.

    Args:
      split: 'dev' or 'test' are Nejumi's; 'all': every question, but with shots those of train's templates are left out.
      shots: of train, of the question's own category; Nejumi's with 2 or 4.
      samples: the first so many of each category; None: all.

    Raises:
      UserError: an unknown split, or too few questions for it.
    """
    if split not in SPLITS:
        raise UserError(f"split = {split!r} is none of {', '.join(SPLITS)}")
    if shots < 0 or (samples is not None and samples < 1):
        raise UserError("shots must be 0 or more, and samples 1 or more")
    chosen, shown = [], {}
    for category, of_category in _by(questions, "category").items():
        if split == "all" and not shots:
            chosen += of_category[:samples]
            continue
        parts = split_templates(category, list(_by(of_category, "template")))
        if shots:
            shown[category] = _shots(category, _questions(of_category, parts["train"]), shots)
        if split == "all":
            found = [each for each in of_category if each.template not in parts["train"]]
        else:
            found = _questions(of_category, parts[split])
        if not found:
            raise UserError(
                f"{category} has {len(_by(of_category, 'template'))} templates, too few for the split {split!r} with "
                f"{shots} shots; give the whole file, or --split=all --shots=0"
            )
        chosen += found[:samples]
    return chosen, shown


def split_templates(category: str, templates: Sequence[str]) -> dict[str, list[str]]:
    """Which of a category's templates are train, dev and test; the order is that of the file.

    With `first` in train or test, dev's first takes its place there: at the end.
    """
    facts = safety_facts("jbbq")["split"]
    order = list(templates)
    random.Random(facts["seed"]).shuffle(order)
    counts = facts["templates"].get(category) or {name: int(len(order) * facts[name]) for name in ("train", "dev", "test")}  # fmt: skip
    ends = [counts["train"], counts["train"] + counts["dev"], sum(counts.values())]
    parts = {"train": order[: ends[0]], "dev": order[ends[0] : ends[1]], "test": order[ends[1] : ends[2]]}  # fmt: skip
    first = facts["first"].get(category)
    holder = next((name for name, part in parts.items() if first in part), None)
    if holder is not None and parts["dev"]:
        if holder != "dev":
            parts[holder].remove(first)
            parts[holder].append(parts["dev"].pop(0))
        else:
            parts["dev"].remove(first)
        parts["dev"].insert(0, first)
    return parts


def _by(questions: Sequence[BiasQuestion], field: str) -> dict[str, list[BiasQuestion]]:
    groups: dict[str, list[BiasQuestion]] = {}
    for question in questions:
        groups.setdefault(getattr(question, field), []).append(question)
    return groups


def _questions(questions: Sequence[BiasQuestion], templates: Sequence[str]) -> list[BiasQuestion]:
    """The first questions of each of some templates."""
    of_template: Mapping[str, list[BiasQuestion]] = _by(questions, "template")
    count = safety_facts("jbbq")["split"]["questions_per_template"]
    return [each for template in templates for each in of_template[template][:count]]


def _shots(category: str, train: Sequence[BiasQuestion], shots: int) -> tuple[BiasQuestion, ...]:
    places = safety_facts("jbbq")["split"]["shots"].get(str(shots), list(range(shots)))
    if places[-1] >= len(train):
        raise UserError(
            f"{category} has {len(train)} questions to take {shots} shots from, too few; ask for fewer, or give the whole file"
        )
    return tuple(train[place] for place in places)
