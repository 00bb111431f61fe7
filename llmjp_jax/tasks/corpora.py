"""The Tasks and Mixtures of the manifests' corpora: LLM-jp's and the quick start's, over a folder of JSONL files."""

from __future__ import annotations

import os

import seqio

from llmjp_jax.corpus import Mixture
from llmjp_jax.tasks.registry import register_jsonl_task, register_mixture
from llmjp_jax.tokenizer import Vocabulary


def register_corpora(
    mixture: Mixture, corpora_dir: str | os.PathLike, vocabulary: Vocabulary
) -> seqio.Mixture:
    """Registers a manifest's mixture, and a Task for each of its subsets.

        (quickstart,) = load_mixtures("quickstart")
        register_corpora(quickstart, "corpora", load_vocabulary("tokenizer.model"))

    Args:
      mixture: from `load_mixtures`.
      corpora_dir: holds `<folder of the subset>/{train,validation}*.jsonl`.
      vocabulary: of every Task.

    Raises:
      UserError: a subset has no training files; see `Mixture.files`.
    """
    files = {subset: mixture.files(corpora_dir, subset) for subset in mixture.subsets}
    for subset, splits in files.items():
        register_jsonl_task(mixture.task(subset), splits, vocabulary)
    return register_mixture(mixture.name, mixture.task_weights)
