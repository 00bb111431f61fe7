"""What a step minimises: for pre-training and SFT the cross-entropy, a mean over tokens. DPO's is in `posttraining`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from llmjp_jax.errors import UserError
from llmjp_jax.models import Decoder, ModelConfig, token_losses
from llmjp_jax.models.moe import Balance

Batch = Mapping[str, jax.Array]


class Outcome(NamedTuple):
    """What a part of a batch adds to the means over the whole batch.

    Attributes:
      loss: scalar, what is minimised.
      report: scalars to be shown, `loss` among them (the loss proper: without z-loss and the like).
      balance: of each layer's router; None without experts.
    """

    loss: jax.Array
    report: dict[str, jax.Array]
    balance: Balance | None


@runtime_checkable  # the types of gin bindings are checked
class Objective(Protocol):
    """A loss that is a mean over units: tokens, or pairs.

    Attributes:
      unit: what they are called in metrics.
      fields: arrays of a batch that it reads beside tokens, targets, loss_weights, segment_ids and positions.
      pairs: whether its examples are pairs of a chosen and a rejected response.
      looks_under: whether it takes the model under the adapters for the one that the run starts from.
    """

    unit: str
    fields: tuple[str, ...]
    pairs: bool
    looks_under: bool

    def check(self, model: ModelConfig) -> None:
        """Raises a `UserError` where the objective does not fit the model."""

    def total(self, batch: Batch) -> jax.Array:
        """The number of units in a batch, float32."""

    def outcome(self, decoder: Decoder, base: Callable[[], Decoder], batch: Batch, total: jax.Array,
                key: jax.Array | None) -> Outcome:  # fmt: skip
        """Sums over the units of a part of a batch, divided by the whole batch's `total`.

        Args:
          decoder: the model that learns. base: gives it without its adapters.
          key: turns dropout on.
        """

    def prepared(self, trainer: Any, start: Callable[[], Any], inputs: Any, validation: Mapping[str, Any],
                 directory: Path) -> tuple[Any, Mapping[str, Any]]:  # fmt: skip
        """The inputs with what the objective reads beside them.

        Args:
          trainer: the run's. start: gives the parameters that the run starts from.
          inputs, validation: of the run. directory: where it may keep what it computes.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenLoss:
    """Cross-entropy of the tokens by their `loss_weights`, and z-loss (`models.token_losses`)."""

    z_loss: float = 0.0

    unit = "tokens"
    fields = ()
    pairs = False
    looks_under = False

    def __post_init__(self):
        if self.z_loss < 0:
            raise UserError(f"z_loss = {self.z_loss} must not be negative")

    def check(self, model: ModelConfig) -> None:
        """Fits every model."""

    def total(self, batch: Batch) -> jax.Array:
        return batch["loss_weights"].sum()

    def outcome(self, decoder, base, batch, total, key) -> Outcome:
        hidden, balance = decoder.hidden_and_balance(
            batch["tokens"], batch.get("segment_ids"), batch.get("positions"), key
        )
        weights = batch["loss_weights"] / jnp.maximum(total, 1.0)
        loss, entropy = token_losses(
            hidden, decoder.output_kernel(), batch["targets"], weights,
            z_loss=self.z_loss, chunks=decoder.config.loss_chunks,
        )  # fmt: skip
        return Outcome(loss, {"loss": entropy, "z_loss": loss - entropy}, balance)

    def prepared(self, trainer, start, inputs, validation, directory):
        return inputs, validation
