"""The quick start's three Tasks and their Mixture: Japanese, English and code."""

from __future__ import annotations

import os
from pathlib import Path

import seqio

from llmjp_jax.corpus import load_manifest
from llmjp_jax.tasks.registry import register_jsonl_task, register_mixture
from llmjp_jax.tokenizer import load_vocabulary


def register_quickstart(
    corpora_dir: str | os.PathLike, vocabulary_path: str | os.PathLike
) -> seqio.Mixture:
    """Registers Tasks `quickstart_ja`, `quickstart_en`, `quickstart_code` and Mixture `quickstart`.

    Args:
      corpora_dir: holds `{ja,en,code}/{train,validation}.jsonl`, from `tools/prepare_quickstart.py`.
      vocabulary_path: what `load_vocabulary` reads.
    """
    vocabulary = load_vocabulary(vocabulary_path)
    weights = quickstart_weights()
    for corpus in weights:
        folder = Path(corpora_dir) / corpus
        files = {split: folder / f"{split}.jsonl" for split in ("train", "validation")}
        register_jsonl_task(f"quickstart_{corpus}", files, vocabulary)
    return register_mixture("quickstart", {f"quickstart_{name}": w for name, w in weights.items()})


def quickstart_weights() -> dict[str, int]:
    """Each corpus's share of the training tokens, in percent, from `data/quickstart_mixture.toml`."""
    return load_manifest("quickstart_mixture")["weights"]
