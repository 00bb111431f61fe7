"""LLM-jp in JAX: corpus, tokenizer, pre-training, tuning, evaluation, safety and export in one tested tree.

`LanguageModel` is the door for notebooks and scripts; everything else is a room with its own door.
"""

__version__ = "0.1.0"
__all__ = ["LanguageModel"]


def __getattr__(name: str):
    # Importing the package stays free of JAX, so that a command's --help answers at once.
    if name == "LanguageModel":
        from llmjp_jax.language_model import LanguageModel

        return LanguageModel
    raise AttributeError(f"module 'llmjp_jax' has no attribute {name!r}")
