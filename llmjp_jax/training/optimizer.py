"""AdamW as Megatron runs it: which parameters decay, how gradients are clipped, how the learning rate moves."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from llmjp_jax.errors import UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with warm-up and decay.

    Attributes:
      learning_rate: the peak, reached after `warmup_steps`.
      final_learning_rate: the floor, reached after `decay_steps` (counted from step 0) and kept from then on.
      warmup_steps: steps of linear rise from 0; the first update has rate 0, as in Megatron.
      decay_steps: the horizon of the schedule; it may lie beyond the end of the run (LLM-jp v1.0: 1T tokens).
      schedule: 'cosine', 'linear' or 'constant' after warm-up.
      beta1, beta2, epsilon: Adam's.
      weight_decay: on all matrices and embeddings, never on biases and norms (Megatron's rule).
      clip_norm: the largest global norm of the gradient.
    """

    learning_rate: float
    final_learning_rate: float
    warmup_steps: int
    decay_steps: int
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.1
    clip_norm: float = 1.0

    def __post_init__(self):
        def check(holds, field, must):
            if not holds:
                raise UserError(f"OptimizerConfig.{field} = {getattr(self, field)!r} must {must}")

        check(
            self.schedule in ("cosine", "linear", "constant"),
            "schedule",
            "be cosine, linear or constant",
        )
        check(self.learning_rate > 0, "learning_rate", "be positive")
        check(0 <= self.final_learning_rate <= self.learning_rate, "final_learning_rate",
              f"lie between 0 and learning_rate={self.learning_rate}")  # fmt: skip
        check(self.warmup_steps >= 0, "warmup_steps", "not be negative")
        check(
            self.decay_steps > self.warmup_steps,
            "decay_steps",
            f"exceed warmup_steps={self.warmup_steps}",
        )
        check(self.clip_norm > 0, "clip_norm", "be positive")
        check(0 <= self.beta1 < 1, "beta1", "lie in [0, 1)")
        check(0 <= self.beta2 < 1, "beta2", "lie in [0, 1)")
        check(self.epsilon > 0, "epsilon", "be positive")
        check(self.weight_decay >= 0, "weight_decay", "not be negative")

    def learning_rate_at(self, step: jax.Array) -> jax.Array:
        """The learning rate of the update after `step` finished ones (Megatron's `OptimizerParamScheduler`)."""
        step = jnp.asarray(step, jnp.float32)
        peak, floor = self.learning_rate, self.final_learning_rate
        progress = (step - self.warmup_steps) / (self.decay_steps - self.warmup_steps)
        progress = jnp.clip(progress, 0.0, 1.0)
        shape = {
            "cosine": lambda x: 0.5 * (jnp.cos(math.pi * x) + 1.0),
            "linear": lambda x: 1.0 - x,
            "constant": lambda x: jnp.ones_like(x),
        }[self.schedule]
        decayed = floor + (peak - floor) * shape(progress)
        return jnp.where(step < self.warmup_steps, peak * step / max(self.warmup_steps, 1), decayed)

    def transformation(self) -> optax.GradientTransformation:
        """Adam and decoupled weight decay; the gradient is clipped before, by `clip`."""
        return optax.adamw(
            self.learning_rate_at, b1=self.beta1, b2=self.beta2, eps=self.epsilon,
            weight_decay=self.weight_decay, mask=decayed_parameters,
        )  # fmt: skip

    def clip(self, gradients: Any) -> tuple[Any, jax.Array]:
        """The gradients scaled to a global norm of at most `clip_norm`, and their norm before.

        As in Megatron and torch the factor is clip_norm / (norm + 1e-6), at most 1.
        """
        norm = optax.global_norm(gradients)
        factor = jnp.minimum(1.0, self.clip_norm / (norm + 1e-6))
        return jax.tree.map(lambda gradient: gradient * factor, gradients), norm


def decayed_parameters(parameters: Any) -> Any:
    """True for each parameter that weight decay applies to: those named neither `bias` nor `scale`.

    Megatron spares what has one axis; here layers are stacked, so that names decide.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1].key not in ("bias", "scale"), parameters
    )
