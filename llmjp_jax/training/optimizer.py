"""AdamW as Megatron runs it: which parameters decay, how gradients are clipped, how the learning rate moves."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from llmjp_jax.errors import UserError

# How far above the floor a schedule stands, 1 to 0, when a part `left`, 1 to 0, of its steps is left; `library` is jnp or
# math. Megatron's 0.5 (cos(pi (1 - left)) + 1) is the same square, and loses float32's digits near the floor.
_SHAPES = {
    "cosine": lambda left, library: library.sin(0.5 * math.pi * left) ** 2,
    "linear": lambda left, library: left,
    "constant": lambda left, library: 1.0,
}
_COOLDOWN = ("cooldown_start", "cooldown_steps", "cooldown_learning_rate")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """AdamW with warm-up, decay and, if asked for, a second and faster decay. LLM-jp's values: gin_configs/runs/.

    Attributes:
      learning_rate: the peak, reached after `warmup_steps`.
      final_learning_rate: the floor, reached after `decay_steps` (counted from step 0) and kept from then on.
      warmup_steps: steps of linear rise from 0; the first update has rate 0, as in Megatron.
      warmup_fraction: in place of `warmup_steps`, the share of the run's steps, rounded up as in Hugging Face's Trainer.
      decay_steps: the horizon of the schedule; it may lie beyond the end of the run (LLM-jp v1.0: 1T tokens); None: the
        run's steps.
      schedule: 'cosine', 'linear' or 'constant' after warm-up.
      cooldown_start: the step at which the second decay replaces the first; None: none does (LLM-jp v1.0 gave up its
        horizon at step 87,870).
      cooldown_steps: the steps of the second decay, a cosine from the rate reached at `cooldown_start` (that LLM-jp's began
        there is not published).
      cooldown_learning_rate: the rate that it ends in, kept from then on.
      beta1, beta2, epsilon: Adam's.
      weight_decay: on all matrices and embeddings, never on biases and norms (Megatron's rule).
      clip_norm: the largest global norm of the gradient.
    """

    learning_rate: float
    final_learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    weight_decay: float
    clip_norm: float
    warmup_steps: int | None = None
    warmup_fraction: float | None = None
    decay_steps: int | None = None
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    cooldown_start: int | None = None
    cooldown_steps: int | None = None
    cooldown_learning_rate: float | None = None

    def __post_init__(self):
        check = self._check
        check(self.schedule in _SHAPES, "schedule", "be cosine, linear or constant")
        for field in ("warmup_steps", "decay_steps"):
            value = getattr(self, field)
            check(value is None or type(value) is int, field, "be None or a whole number")
        check((self.warmup_steps is None) != (self.warmup_fraction is None), "warmup_fraction",
              f"be given in place of warmup_steps = {self.warmup_steps}: one of the two, the other None")  # fmt: skip
        check(self.learning_rate > 0, "learning_rate", "be positive")
        check(0 <= self.final_learning_rate <= self.learning_rate, "final_learning_rate",
              f"lie between 0 and learning_rate={self.learning_rate}")  # fmt: skip
        if self.warmup_steps is not None:
            check(self.warmup_steps >= 0, "warmup_steps", "not be negative")
            check(self.decay_steps is None or self.decay_steps > self.warmup_steps, "decay_steps",
                  f"exceed warmup_steps={self.warmup_steps}")  # fmt: skip
        else:
            check(0 <= self.warmup_fraction < 1, "warmup_fraction", "lie in [0, 1)")
        check(self.clip_norm > 0, "clip_norm", "be positive")
        check(0 <= self.beta1 < 1, "beta1", "lie in [0, 1)")
        check(0 <= self.beta2 < 1, "beta2", "lie in [0, 1)")
        check(self.epsilon > 0, "epsilon", "be positive")
        check(self.weight_decay >= 0, "weight_decay", "not be negative")
        self._check_cooldown()

    def _check_cooldown(self) -> None:
        given = [field for field in _COOLDOWN if getattr(self, field) is not None]
        for field in _COOLDOWN:
            self._check(
                not given or field in given, field, f"be given, as {' and '.join(given)} is"
            )
        if not given:
            return
        for field in ("warmup_steps", "decay_steps"):
            self._check(getattr(self, field) is not None, field, "be given with a second decay")
        for field in ("cooldown_start", "cooldown_steps"):
            self._check(type(getattr(self, field)) is int, field, "be a whole number")
        self._check(self.cooldown_start >= self.warmup_steps, "cooldown_start",
                    f"not lie within the warm-up, warmup_steps={self.warmup_steps}")  # fmt: skip
        self._check(self.cooldown_steps >= 1, "cooldown_steps", "be at least 1")
        reached = self._rate(self.cooldown_start)
        self._check(0 <= self.cooldown_learning_rate <= reached, "cooldown_learning_rate",
                    f"lie between 0 and {reached:.4g}, the rate at cooldown_start={self.cooldown_start}")  # fmt: skip

    def _check(self, holds: bool, field: str, must: str) -> None:
        if not holds:
            raise UserError(f"OptimizerConfig.{field} = {getattr(self, field)!r} must {must}")

    def over(self, total_steps: int) -> OptimizerConfig:
        """The same with what depends on the run's length filled in.

        Raises:
          UserError: the run is no longer than its warm-up.
        """
        changes = {}
        warmup = math.ceil(total_steps * (self.warmup_fraction or 0))
        if self.decay_steps is None and total_steps <= (self.warmup_steps or warmup):
            raise UserError(
                f"the run has {total_steps} steps, all of them warm-up; lower BATCH_SIZE or raise EPOCHS or TRAIN_STEPS, or "
                "set OptimizerConfig.warmup_fraction = 0"
            )
        if self.warmup_fraction is not None:
            changes |= {
                "warmup_steps": warmup,
                "warmup_fraction": None,
            }
        if self.decay_steps is None:
            changes["decay_steps"] = total_steps
        return dataclasses.replace(self, **changes)

    def learning_rate_at(self, step: jax.Array) -> jax.Array:
        """The learning rate of the update after `step` finished ones (Megatron's `OptimizerParamScheduler`).

        Args:
          step: whole numbers below 2^24, which float32 holds exactly, of any shape.

        Returns:
          float32 of that shape.
        """
        step = jnp.asarray(step, jnp.float32)
        peak, warmup = self.learning_rate, self.warmup_steps
        rate = _decay(step, warmup, self.decay_steps, peak, self.final_learning_rate, self.schedule)
        rate = jnp.where(step < warmup, peak * step / max(warmup, 1), rate)
        if self.cooldown_start is None:
            return rate
        start, end = self.cooldown_start, self.cooldown_start + self.cooldown_steps
        cooled = _decay(step, start, end, self._rate(start), self.cooldown_learning_rate, "cosine")
        return jnp.where(step < start, rate, cooled)

    def _rate(self, step: int) -> float:
        """The first schedule's rate at a step after warm-up, in Python's own precision."""
        peak, floor = self.learning_rate, self.final_learning_rate
        left = max((self.decay_steps - step) / (self.decay_steps - self.warmup_steps), 0.0)
        return floor + (peak - floor) * _SHAPES[self.schedule](left, math)

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


def _decay(step, start: int, end: int, peak: float, floor: float, schedule: str) -> jax.Array:
    """From `peak` at step `start` to `floor` at step `end`, and `floor` from then on."""
    left = jnp.clip((end - step) / (end - start), 0.0, 1.0)
    return floor + (peak - floor) * _SHAPES[schedule](left, jnp)


def decayed_parameters(parameters: Any) -> Any:
    """True for each parameter that weight decay applies to: those named neither `bias` nor `scale`.

    Megatron spares what has one axis; here layers are stacked, so that names decide.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1].key not in ("bias", "scale"), parameters
    )
