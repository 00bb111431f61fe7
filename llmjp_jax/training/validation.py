"""Validation: what the objective says of each validation split; of text also bits a byte. And when tasks are asked."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from llmjp_jax.errors import UserError
from llmjp_jax.inputs import Examples, TokenStore, epoch_batches
from llmjp_jax.models import Decoder, ModelConfig
from llmjp_jax.tokenizer import Vocabulary
from llmjp_jax.training.trainer import Trainer


@runtime_checkable  # the types of gin bindings are checked
class TaskScores(Protocol):
    """What the model of a run is asked while it is trained (`evaluation.DuringTraining`).

    Attributes:
      period: steps between; None: only after the last step.
    """

    period: int | None

    def check(self, model: ModelConfig, vocabulary: Vocabulary) -> None:
        """Raises a `UserError`, before the first step, where the model cannot be asked."""

    def scores(self, decoder: Decoder, vocabulary: Vocabulary) -> Mapping[str, float]:
        """Scores by name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """When to evaluate on the validation splits, and on tasks.

    Attributes:
      period: steps between evaluations; None: only after the last step.
      batches: batches per corpus at those; None: the whole split. After the last step it is always the whole split.
      tasks: what the model is asked, and when; None: nothing.
    """

    period: int | None = None
    batches: int | None = None
    tasks: TaskScores | None = None

    def __post_init__(self):
        for field in ("period", "batches"):
            value = getattr(self, field)
            if value is not None and (type(value) is not int or value < 1):
                raise UserError(
                    f"EvaluationConfig.{field} = {value!r} must be None or a whole number of at least 1"
                )


def validate(
    trainer: Trainer, weights: Any, sources: Mapping[str, TokenStore | Examples], batches: int | None = None
) -> dict[str, dict[str, float]]:  # fmt: skip
    """The objective on the first `batches` batches of each source (None: of a store every token but the first, else all).

    Args:
      weights: all parameters of the model.
      sources: stores of text, or examples of tuning.

    Returns:
      {name: {"loss": nats per token or loss per pair, what else the objective reports, "tokens" or "pairs": how many}}. A
      store of text also has "bits_per_byte", which counts the store's own tokens per byte of text, end-of-document tokens
      included, unless its manifest does not say how many bytes its text has (Megatron's own files).
    """
    return {name: _means(trainer, weights, source, batches) for name, source in sources.items()}


def mean_loss(results: Mapping[str, Mapping[str, float]], unit: str) -> float:
    """The loss over the units of all sources, from the results of `validate`."""
    units = sum(result[unit] for result in results.values())
    return sum(result["loss"] * result[unit] for result in results.values()) / units


def _means(trainer, weights, source, batches) -> dict[str, float]:
    sums, unit = [], trainer.goal.unit
    for batch in itertools.islice(_one_pass(trainer, source), batches):
        rows = {field: array[trainer.local_rows] for field, array in batch.items()}
        sums.append(trainer.evaluate(weights, trainer.put(rows)))
    reports, totals = zip(*jax.device_get(sums), strict=True)
    total = float(np.sum(totals, dtype=np.float64))
    means = {
        name: float(np.sum([report[name] for report in reports], dtype=np.float64)) / total
        for name in reports[0]
        if name != "z_loss"
    }
    means[unit] = int(total)
    text_bytes = isinstance(source, TokenStore) and (source.manifest or {}).get("text_bytes")
    if text_bytes:
        bits_per_token = means["loss"] / math.log(2)
        means["bits_per_byte"] = bits_per_token * source.num_tokens / text_bytes
    return means


def _one_pass(trainer, source):
    if isinstance(source, Examples):
        return source.one_pass(trainer.batch_size)
    return epoch_batches(source, trainer.sequence_length, trainer.batch_size, trainer.document_mask)


def unigram_bits_per_byte(train: TokenStore, validation: TokenStore, vocab_size: int) -> float:
    """Bits per byte of validation text under the token frequencies of the training text, each count plus one."""
    counts = np.ones(vocab_size) + _counts(train, vocab_size)
    bits = -np.log2(counts / counts.sum())
    return float(_counts(validation, vocab_size) @ bits / validation.manifest["text_bytes"])


def _counts(store: TokenStore, vocab_size: int, piece: int = 1 << 22) -> np.ndarray:
    counts = np.zeros(vocab_size, np.int64)
    for start in range(0, store.num_tokens, piece):
        tokens = store.tokens(start, min(start + piece, store.num_tokens))
        counts += np.bincount(tokens, minlength=vocab_size)
    return counts
