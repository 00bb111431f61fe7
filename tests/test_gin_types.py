"""A value from gin is refused where its type is not the parameter's, and nowhere else."""

from collections.abc import Mapping
from typing import Any, Literal

import pytest

from llmjp_jax.gin_types import wanted
from llmjp_jax.models import ModelConfig
from llmjp_jax.training import OptimizerConfig, train


def declared(
    a: int,
    b: float,
    c: bool,
    d: str | None,
    e: Mapping[str, int] | None,
    f: Any,
    g: Literal["x"],
    h,
): ...


@pytest.mark.parametrize(
    "function, name, value, words",
    [
        (declared, "a", 1, None),
        (declared, "a", 1.0, "a whole number"),
        (declared, "a", True, "a whole number"),
        (declared, "a", "1k", "a whole number"),
        (declared, "b", 1, None),
        (declared, "b", "3e-3x", "a number"),
        (declared, "c", "yes", "True or False"),
        (declared, "d", None, None),
        (declared, "d", 3, "a text or None"),
        (declared, "e", {"k": 1}, None),
        (declared, "e", 4, "a Mapping or None"),
        (declared, "f", object(), None),
        (declared, "g", "y", None),
        (declared, "h", object(), None),
        (ModelConfig, "embed", "big", "a whole number"),
        (ModelConfig, "kv_heads", None, None),
        (OptimizerConfig, "clip_norm", None, "a number"),
        (train, "model", "tiny", "a ModelConfig"),
        (train, "mesh", 4, "a MeshConfig or None"),
        (train, "batch_size", 1e3, "a whole number"),
    ],
)
def test_a_value_is_held_against_the_annotation(function, name, value, words):
    assert wanted(function, name, value) == words
