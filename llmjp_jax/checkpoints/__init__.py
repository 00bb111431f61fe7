"""Parameters to disk and back: Hugging Face directories."""

from llmjp_jax.checkpoints.hf import load_hf, save_hf

__all__ = ["load_hf", "save_hf"]
