"""Batches in, better parameters out: the optimizer, the compiled step, the loop and what it writes beside it."""

from llmjp_jax.training.loop import EvaluationConfig, train
from llmjp_jax.training.metrics import draw_loss, read_metrics
from llmjp_jax.training.optimizer import OptimizerConfig
from llmjp_jax.training.trainer import Trainer, TrainState
from llmjp_jax.training.validation import unigram_bits_per_byte, validate

__all__ = [
    "EvaluationConfig",
    "OptimizerConfig",
    "TrainState",
    "Trainer",
    "draw_loss",
    "read_metrics",
    "train",
    "unigram_bits_per_byte",
    "validate",
]
