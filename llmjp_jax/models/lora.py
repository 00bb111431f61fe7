"""Low-rank adapters (LoRA, arXiv 2106.09685): which matrices get one, and adapters as part of a model's parameters.

An adapted matrix W computes x·W + scale · (dropout(x)·A)·B. A and B are parameters of the decoder like any other, under
a path component `lora` (`blocks/attention/query/lora/a`): the functions here take a nested dict of parameters apart
along it and put it together again. The layers that multiply by A and B stand in `linear.py`.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from llmjp_jax.errors import UserError

if TYPE_CHECKING:
    from llmjp_jax.models.config import ModelConfig

Parameters = dict[str, Any]

ATTENTION_INPUTS = ("query", "key", "value")
# In the order in which they are kept, so that the same set is the same config.
TARGETS = ("query_key_value", *ATTENTION_INPUTS, "output", "gate", "up", "down", "embedding", "head")  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Which matrices of a model are adapted, and how.

    Attributes:
      rank: columns of A and rows of B.
      alpha: the product A·B is multiplied by alpha / rank.
      dropout: rate on what enters A while training; the output matrix's adapter and the embedding's have none.
      targets: query, key, value, output, gate, up, down, embedding and head, each with an A of its own; or
        query_key_value, whose one A serves all three, as in GPT-2's fused matrix (`c_attn`).
    """

    rank: int
    alpha: float
    dropout: float = 0.0
    targets: Sequence[str]

    def __post_init__(self):
        self._check(type(self.rank) is int and self.rank >= 1, "rank", "be a whole number of at least 1")  # fmt: skip
        self._check(_is_number(self.alpha) and self.alpha > 0, "alpha", "be a positive number")
        self._check(_is_number(self.dropout) and 0 <= self.dropout < 1, "dropout", "lie in [0, 1)")
        given = self.targets
        listed = isinstance(given, (list, tuple)) and len(given) > 0
        self._check(listed, "targets", f"be a list of some of {', '.join(TARGETS)}")
        for target in given:
            if target not in TARGETS:
                near = difflib.get_close_matches(str(target), TARGETS, 1)
                self._check(False, "targets", f"name only {', '.join(TARGETS)}"
                            + (f"; did you mean {near[0]!r}?" if near else ""))  # fmt: skip
        self._check(len(set(given)) == len(given), "targets", "name each matrix once")
        fused = "query_key_value" in given
        self._check(not (fused and set(given) & set(ATTENTION_INPUTS)), "targets",
                    "name either query_key_value or some of query, key and value")  # fmt: skip
        object.__setattr__(self, "targets", tuple(name for name in TARGETS if name in given))

    def _check(self, holds: bool, field: str, must: str) -> None:
        if not holds:
            raise UserError(f"LoraConfig.{field} = {getattr(self, field)!r} must {must}")

    @property
    def scale(self) -> float:
        """What the product of A and B is multiplied by."""
        return self.alpha / self.rank


def adapters_of(parameters: Parameters) -> Parameters:
    """The adapters alone of a nested dict of anything; {} where there are none."""
    return _pruned({
        name: child if name == "lora" else adapters_of(child)
        for name, child in parameters.items() if isinstance(child, dict)
    })  # fmt: skip


def without_adapters(parameters: Parameters) -> Parameters:
    """The nested dict without its adapters."""
    return _pruned({
        name: without_adapters(child) if isinstance(child, dict) else child
        for name, child in parameters.items() if name != "lora"
    })  # fmt: skip


def join(base: Parameters, adapters: Parameters) -> Parameters:
    """One nested dict with the leaves of both, which have none in common."""
    joined = dict(base)
    for name, child in adapters.items():
        if name in joined and not (isinstance(child, dict) and isinstance(joined[name], dict)):
            raise ValueError(f"both parts have {name!r}")
        joined[name] = join(joined[name], child) if name in joined else child
    return joined


def merge_adapters(config: ModelConfig, parameters: Parameters) -> tuple[ModelConfig, Parameters]:
    """The model whose matrices are W + scale · A·B, without adapters: a config with `lora` None, and its parameters.

    The sums are float32 and stored in the dtype of W. Works on arrays of any layout, under `jax.jit` too (the config
    is no array).
    """
    plain = dataclasses.replace(config, lora=None)
    if config.lora is None:
        return plain, parameters
    scale = config.lora.scale
    return plain, {
        name: _merged(child, scale, stacked=name == "blocks") for name, child in parameters.items()
    }


def _merged(room: Parameters, scale: float, stacked: bool) -> Parameters:
    """A branch of the parameters with its adapters added to its matrices."""
    lora = room.get("lora", {})
    merged = {
        name: _merged(child, scale, stacked) if isinstance(child, dict) else child
        for name, child in room.items() if name != "lora"
    }  # fmt: skip

    def add(matrix, b):
        if not stacked:
            return _sum(matrix, lora["a"], b, scale)
        # Layer by layer: the float32 product of all layers never exists whole.
        return jax.lax.map(lambda layer: _sum(*layer, scale), (matrix, lora["a"], b))

    for name, b in lora.items():
        if name in ATTENTION_INPUTS:
            merged[name] = merged[name] | {"kernel": add(merged[name]["kernel"], b)}
        elif name == "b":
            matrix = "kernel" if "kernel" in merged else "tokens"
            merged[matrix] = add(merged[matrix], b)
    return merged


def _sum(matrix: jax.Array, a: jax.Array, b: jax.Array, scale: float) -> jax.Array:
    return (matrix.astype(jnp.float32) + low_rank_product(a, b, scale)).astype(matrix.dtype)


def low_rank_product(a: jax.Array, b: jax.Array, scale: float) -> jax.Array:
    """scale · A·B: a [*inputs, rank], b [rank, *outputs] → [*inputs, *outputs] float32."""
    a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    product = jax.lax.dot_general(
        a, b, (((a.ndim - 1,), (0,)), ((), ())), precision=jax.lax.Precision.HIGHEST
    )
    return scale * product


def _pruned(parameters: Parameters) -> Parameters:
    return {name: child for name, child in parameters.items() if not isinstance(child, dict) or child}  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
