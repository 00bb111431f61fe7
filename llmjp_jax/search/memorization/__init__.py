"""What a model knows by heart: it goes on from prefixes of its training data, and what it says is set against the corpus.

In: a run, an index of its data. Out: `run_study` writes per sample whether the true continuation comes out (extractable, token BLEU,
perplexity, Min-K%), how often it stands in the corpus and when it was last seen; with tables and a picture. `Protocol` says how long
prefixes and continuations are.
"""

from llmjp_jax.search.memorization.protocol import Protocol

__all__ = ["Protocol", "run_study"]


def __getattr__(name: str):
    # The rest asks a model, and so imports JAX; the door alone does not.
    if name == "run_study":
        from llmjp_jax.search.memorization.study import run_study

        return run_study
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
