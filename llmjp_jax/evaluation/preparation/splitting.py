"""How samples are shuffled and split: llm-jp-eval's rules, which all start a fresh generator at seed 42.

A data set's own train, dev and test are kept. With a train and a test of its own, train is shuffled and a tenth of it becomes dev. Without
any, 1,000 samples or more are shuffled and split 80/10/10; fewer: 32 for train, the rest halved.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import TypeVar

from llmjp_jax.evaluation.task_files import Sample

SEED = 42
FEW = 1000  # below so many samples, train gets `FEW_TRAIN` of them
FEW_TRAIN = 32

Item = TypeVar("Item")


@dataclasses.dataclass(frozen=True)
class Splits:
    """The samples of a task."""

    train: list[Sample]
    dev: list[Sample]
    test: list[Sample]


def generator() -> random.Random:
    """A generator at the seed of all tasks: the same numbers as `random.seed(42)` gives the global one."""
    return random.Random(SEED)


def shuffled(items: Sequence[Item], generator_: random.Random | None = None) -> list[Item]:
    """The items in the order of Python's `shuffle`; a fresh generator unless one is given."""
    items = list(items)
    (generator_ or generator()).shuffle(items)
    return items


def with_own_test(train: Sequence[Sample], test: Sequence[Sample]) -> Splits:
    """Splits for a data set with a train and a test: train shuffled and cut at 90 %, test as it stands."""
    train = shuffled(train)
    cut = int(len(train) * 0.9)
    return Splits(train[:cut], train[cut:], list(test))


def three_way(samples: Sequence[Sample]) -> Splits:
    """Splits of samples without any: shuffled, then 80/10/10."""
    return Splits(*cut_80_10_10(shuffled(samples)))


def cut_80_10_10(items: Sequence[Item]) -> tuple[list[Item], list[Item], list[Item]]:
    """The first 80 %, the next 10 % and the rest, in their order."""
    items = list(items)
    first, second = int(len(items) * 0.8), int(len(items) * 0.9)
    return items[:first], items[first:second], items[second:]


def few(samples: Sequence[Sample]) -> Splits:
    """Splits of few samples, already shuffled: 32 for train, the first half of the rest for dev, the others for test."""
    samples = list(samples)
    train, rest = samples[:FEW_TRAIN], samples[FEW_TRAIN:]
    half = len(rest) // 2
    return Splits(train, rest[:half], rest[half:])
