"""Direct preference optimisation (Rafailov et al., arXiv 2305.18290): the chosen response above the rejected one.

A row of a batch holds pairs of segments: 2k - 1 is the chosen sequence of its pair k, 2k the rejected one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from llmjp_jax.errors import UserError
from llmjp_jax.inputs import Examples
from llmjp_jax.models import Decoder, ModelConfig, token_log_probabilities
from llmjp_jax.posttraining.reference import with_references
from llmjp_jax.training import Outcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class DPO:
    """The mean over pairs of -log sigmoid(beta (log-ratio of the chosen - log-ratio of the rejected)).

    A log-ratio is the sum over a response's tokens of log p - log p of the reference. The reward of a response is beta
    times its log-ratio; `reward_accuracy` is the share of pairs whose chosen response has the larger reward, the names are
    those of TRL.

    Attributes:
      beta: how far the model may move from the reference.
      label_smoothing: probability that a pair's labels are swapped (conservative DPO); 0 is DPO.
      reference: 'cached': of the parameters that the run starts from, computed once, before the first step. 'base': of
        the model under the adapters, computed in each step: a forward pass more, and nothing to keep.
      dropout: leave the model's and its adapters' on; the reference has none, and TRL turns them off too.
    """

    beta: float = 0.1
    label_smoothing: float = 0.0
    reference: Literal["cached", "base"] = "cached"
    dropout: bool = False

    unit = "pairs"
    pairs = True

    def __post_init__(self):
        self._check(self.beta > 0, "beta", "be positive")
        self._check(0 <= self.label_smoothing < 0.5, "label_smoothing", "lie in [0, 0.5)")
        self._check(self.reference in ("cached", "base"), "reference", "be 'cached' or 'base'")

    def _check(self, holds: bool, field: str, must: str) -> None:
        if not holds:
            raise UserError(f"DPO.{field} = {getattr(self, field)!r} must {must}")

    @property
    def fields(self) -> tuple[str, ...]:
        return ("reference",) if self.reference == "cached" else ()

    @property
    def looks_under(self) -> bool:
        return self.reference == "base"

    def check(self, model: ModelConfig) -> None:
        """Raises a `UserError` where there are no adapters to look under."""
        self._check(
            self.reference != "base" or model.lora is not None, "reference",
            "be 'cached' for a model without adapters (ModelConfig.lora = None)",
        )  # fmt: skip

    def total(self, batch: Mapping[str, jax.Array]) -> jax.Array:
        """The number of pairs: a row has as many as half its largest segment."""
        return (batch["segment_ids"].max(axis=1) // 2).sum().astype(jnp.float32)

    def outcome(self, decoder: Decoder, base: Callable[[], Decoder], batch: Mapping[str, jax.Array],
                total: jax.Array, key: jax.Array | None) -> Outcome:  # fmt: skip
        log_p, balance = _log_probabilities(decoder, batch, key if self.dropout else None)
        if self.reference == "cached":
            reference = batch["reference"]
        else:
            reference = jax.lax.stop_gradient(_log_probabilities(base(), batch, None)[0])
        chosen, rejected, exists = by_pair(
            (log_p - reference) * batch["loss_weights"], batch["segment_ids"]
        )
        margin = self.beta * (chosen - rejected)
        losses = self.losses(margin)

        def mean(values):
            return jnp.sum(jnp.where(exists, values, 0.0)) / jnp.maximum(total, 1.0)

        loss = mean(losses)
        log_chosen, log_rejected, _ = by_pair(log_p * batch["loss_weights"], batch["segment_ids"])
        report = {
            "loss": loss,
            "reward_accuracy": mean(margin > 0),
            "reward_margin": mean(margin),
            "reward_chosen": mean(self.beta * chosen),
            "reward_rejected": mean(self.beta * rejected),
            "log_p_chosen": mean(log_chosen),
            "log_p_rejected": mean(log_rejected),
        }
        return Outcome(loss, jax.lax.stop_gradient(report), balance)

    def losses(self, margin: jax.Array) -> jax.Array:
        """The loss of each pair from the margin of its rewards, of any shape."""
        smoothing = self.label_smoothing
        return -(1 - smoothing) * jax.nn.log_sigmoid(margin) - smoothing * jax.nn.log_sigmoid(
            -margin
        )

    def prepared(self, trainer: Any, start: Callable[[], Any], inputs: Examples, validation: Mapping[str, Examples],
                 directory: Path) -> tuple[Examples, Mapping[str, Examples]]:  # fmt: skip
        """The inputs with the reference's log-probabilities, if they are to be computed ahead."""
        if self.reference == "base":
            return inputs, validation
        return with_references(trainer, start, inputs, validation, directory)


def _log_probabilities(decoder, batch, key):
    hidden, balance = decoder.hidden_and_balance(
        batch["tokens"], batch["segment_ids"], batch["positions"], key
    )
    kernel, chunks = decoder.output_kernel(), decoder.config.loss_chunks
    return token_log_probabilities(hidden, kernel, batch["targets"], chunks=chunks), balance


def by_pair(values: jax.Array, segment_ids: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Sums of a number of each token over the responses of each pair.

        values       1 2 3 4 5 6 0
        segment_ids  1 1 2 3 3 4 0     ->  chosen 3 9 0, rejected 3 6 0, exists yes yes no

    Args:
      values, segment_ids: [batch, length]; segments 2k - 1 and 2k are pair k, 0 is padding.

    Returns:
      (chosen, rejected, exists), each [batch, length // 2]: no row holds more pairs than that.
    """
    pairs = segment_ids.shape[1] // 2
    sums = jax.vmap(lambda row, ids: jax.ops.segment_sum(row, ids, 2 * pairs + 1))(
        values, segment_ids
    )
    exists = jnp.arange(1, pairs + 1) <= segment_ids.max(axis=1, keepdims=True) // 2
    return sums[:, 1::2], sums[:, 2::2], exists
