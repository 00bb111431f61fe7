"""From a row of logits to the next token: repetition penalty, temperature, top-k, top-p, in Hugging Face's order.

Knows nothing of models or caches. The definitions are those of `transformers.generation.logits_process`; thresholds
are found by bisection over float bits, which needs no sort of the vocabulary.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from llmjp_jax.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
      temperature: divides the logits; 0 takes the likeliest token (greedy) and leaves top_k and top_p without effect.
      top_k: only the k likeliest tokens (and ties with the last of them); 0 for all.
      top_p: only the likeliest tokens whose probabilities together reach top_p (and ties); 1 for all.
      repetition_penalty: logits of tokens already in the prompt or the text are divided by it where positive, else
        multiplied (CTRL, arXiv 1909.05858); 1 for none.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0

    def __post_init__(self):
        numbers = (int, float, np.integer, np.floating)
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            holds = isinstance(value, numbers) and not isinstance(value, bool)
            self._check(holds and math.isfinite(value), field.name, "be a finite number")
        self._check(self.temperature >= 0, "temperature", "be 0 (greedy) or larger")
        self._check(
            self.top_k >= 0 and self.top_k == int(self.top_k),
            "top_k",
            "be 0 (off) or a whole number",
        )
        self._check(0 < self.top_p <= 1, "top_p", "lie in (0, 1]; 1 turns it off")
        self._check(
            self.repetition_penalty > 0, "repetition_penalty", "be positive; 1 turns it off"
        )

    def _check(self, holds: bool, field: str, must: str) -> None:
        if not holds:
            raise UserError(f"{field} = {getattr(self, field)!r} must {must}")

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps that do anything: static under jit, so that greedy decoding pays for none of the others."""
        steps = () if self.repetition_penalty == 1 else ("penalty",)
        if self.temperature > 0:
            steps += ("sample",) if self.top_k == 0 and self.top_p == 1 else ("filter", "sample")
        return steps

    def values(self) -> dict[str, np.ndarray]:
        """The numbers, as arguments of a jitted function: another temperature is not another program."""
        return {
            field.name: np.float32(getattr(self, field.name)) for field in dataclasses.fields(self)
        }


def next_tokens(logits: jax.Array, seen: jax.Array | None, keys: jax.Array, values: dict[str, jax.Array],
                steps: tuple[str, ...]) -> jax.Array:  # fmt: skip
    """The next token of each row, [batch] int32.

    Args:
      logits: [batch, vocab] float32.
      seen: [batch, vocab] bool, the tokens of each row's prompt and text; read only by the step 'penalty'.
      keys: [batch] PRNG keys; a row's choice depends on its own key and logits only.
      values, steps: from a `Sampling`.
    """
    if "penalty" in steps:
        logits = penalize_repetition(logits, seen, values["repetition_penalty"])
    if "sample" not in steps:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    logits = logits / values["temperature"]
    if "filter" in steps:
        logits = keep_top_p(keep_top_k(logits, values["top_k"]), values["top_p"])
    return jax.vmap(jax.random.categorical)(keys, logits).astype(jnp.int32)


def penalize_repetition(logits: jax.Array, seen: jax.Array, penalty: jax.Array) -> jax.Array:
    """Positive logits of seen tokens divided by `penalty`, negative ones multiplied; [batch, vocab]."""
    return jnp.where(seen, jnp.where(logits > 0, logits / penalty, logits * penalty), logits)


def keep_top_k(logits: jax.Array, k: jax.Array) -> jax.Array:
    """-inf below the k-th largest logit of each row; all logits when k is 0."""
    budget = jnp.where(k > 0, k, jnp.inf).astype(jnp.float32)
    return _keep_heaviest(logits, jnp.ones_like(logits), budget)


def keep_top_p(logits: jax.Array, p: jax.Array) -> jax.Array:
    """-inf at tokens whose likelier ones already have probability p; all logits when p is 1.

    Probabilities 0.5, 0.3, 0.15, 0.05: p = 0.5 keeps the first, p = 0.6 the first two, p = 0.9 the first three.
    """
    budget = jnp.where(p < 1, p, jnp.inf).astype(jnp.float32)
    return _keep_heaviest(logits, jax.nn.softmax(logits, axis=-1), budget)


def _keep_heaviest(logits: jax.Array, weights: jax.Array, budget: jax.Array) -> jax.Array:
    """-inf at tokens whose strictly larger ones weigh `budget` or more.

    The smallest such logit of a row is found by bisection over the 2^32 float32 values, as ordered integers.
    """
    bits = jax.lax.bitcast_convert_type(logits.astype(jnp.float32), jnp.int32)
    order = jnp.where(bits < 0, bits ^ jnp.int32(0x7FFFFFFF), bits)

    def halve(_, bounds):
        low, high = (
            bounds  # A threshold at `high` leaves little enough above it; at `low` perhaps not.
        )
        middle = (low & high) + ((low ^ high) >> 1)
        above = jnp.sum(jnp.where(order > middle[:, None], weights, 0.0), axis=-1)
        fits = above < budget
        return jnp.where(fits, low, middle), jnp.where(fits, middle, high)

    low = jnp.full(logits.shape[:1], jnp.iinfo(jnp.int32).min, jnp.int32)
    _, threshold = jax.lax.fori_loop(0, 32, halve, (low, order.max(axis=-1)))
    return jnp.where(order >= threshold[:, None], logits, -jnp.inf)
