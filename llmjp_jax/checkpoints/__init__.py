"""Parameters to disk and back: a run's own checkpoints, and Hugging Face directories."""

from llmjp_jax.checkpoints.hf import load_hf, save_hf
from llmjp_jax.checkpoints.hf_to_run import save_run
from llmjp_jax.checkpoints.manager import (
    CheckpointConfig,
    Checkpoints,
    load_run,
    read_model_config,
    read_run,
    saved_steps,
)

__all__ = [
    "CheckpointConfig",
    "Checkpoints",
    "load_hf",
    "load_run",
    "read_model_config",
    "read_run",
    "save_hf",
    "save_run",
    "saved_steps",
]
