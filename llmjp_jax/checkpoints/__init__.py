"""Parameters to disk and back: a run's own checkpoints, Hugging Face directories, and PEFT adapters."""

from llmjp_jax.checkpoints.hf import load_hf, save_hf
from llmjp_jax.checkpoints.hf_to_run import save_run
from llmjp_jax.checkpoints.loading import (
    base_of,
    holds_adapters,
    load_model,
    load_peft,
    load_run,
    merged,
    vocabulary_path,
)
from llmjp_jax.checkpoints.manager import CheckpointConfig, Checkpoints
from llmjp_jax.checkpoints.peft import save_peft
from llmjp_jax.checkpoints.runs import (
    best_step,
    read_model_config,
    read_run,
    resolved_step,
    saved_steps,
)

__all__ = [
    "CheckpointConfig",
    "Checkpoints",
    "base_of",
    "best_step",
    "holds_adapters",
    "load_hf",
    "load_model",
    "load_peft",
    "load_run",
    "merged",
    "read_model_config",
    "read_run",
    "resolved_step",
    "save_hf",
    "save_peft",
    "save_run",
    "saved_steps",
    "vocabulary_path",
]
