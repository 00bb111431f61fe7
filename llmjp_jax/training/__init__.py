"""Batches in, better parameters out: the optimizer, the compiled step, the loop and what it writes beside it."""

from llmjp_jax.training.loop import train
from llmjp_jax.training.metrics import draw_loss, read_metrics
from llmjp_jax.training.objectives import Objective, Outcome, TokenLoss
from llmjp_jax.training.optimizer import OptimizerConfig
from llmjp_jax.training.state import TrainState
from llmjp_jax.training.trainer import Trainer
from llmjp_jax.training.validation import (
    EvaluationConfig,
    TaskScores,
    unigram_bits_per_byte,
    validate,
)

__all__ = [
    "EvaluationConfig",
    "Objective",
    "OptimizerConfig",
    "Outcome",
    "TaskScores",
    "TokenLoss",
    "TrainState",
    "Trainer",
    "draw_loss",
    "read_metrics",
    "train",
    "unigram_bits_per_byte",
    "validate",
]
