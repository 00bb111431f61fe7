"""Trains a vocabulary from JSONL corpora on disk, and knows when there is nothing to do. The training itself is `training.py`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from llmjp_jax.corpus import read_documents
from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write, sha256_file
from llmjp_jax.tokenizer.training import sample_texts, train_unigram
from llmjp_jax.tokenizer.vocabulary import Vocabulary, load_vocabulary

_FORMAT = 1  # raise it when the model trained from the same files and settings changes


def train_from_corpora(
    inputs: Mapping[str | os.PathLike, float],
    output_path: str | os.PathLike,
    *,
    vocab_size: int,
    max_bytes: int,
    seed: int = 0,
    log: bool = False,
) -> Vocabulary:
    """Trains on a sample of the JSONL files `inputs` (path -> proportion of bytes) and writes the .model file.

    A record beside it (`NAME.model.json`) holds the settings, the inputs' sha256 and the model's. When they still agree
    the model is loaded as it is.

    Args:
      inputs: path of a JSONL file -> its proportion.
      output_path, vocab_size, log: see `train_unigram`.
      max_bytes, seed: see `sample_texts`.

    Raises:
      UserError: an input is missing or damaged; see also the two functions.
    """
    import sentencepiece

    output_path = Path(output_path)
    record_path = output_path.with_name(output_path.name + ".json")
    for path in inputs:
        if not Path(path).is_file():
            raise UserError(f"there is no corpus file {path}; check the path")
    settings = {
        "format": _FORMAT,
        "sentencepiece": sentencepiece.__version__,
        "inputs": [[sha256_file(path), proportion] for path, proportion in inputs.items()],
        "vocab_size": vocab_size,
        "max_bytes": max_bytes,
        "seed": seed,
    }
    if _is_finished(output_path, record_path, settings):
        return load_vocabulary(output_path)
    corpora = {
        str(path): (
            document["text"]
            for _, document in tqdm(read_documents(path), str(path), unit=" documents")
        )
        for path in inputs
    }
    proportions = {str(path): proportion for path, proportion in inputs.items()}
    sample = sample_texts(corpora, proportions, max_bytes=max_bytes, seed=seed)
    vocabulary = train_unigram(sample, output_path, vocab_size=vocab_size, log=log)
    record = {**settings, "model_sha256": sha256_file(output_path)}
    with atomic_write(record_path, "w") as file:
        json.dump(record, file, indent=1)
    return vocabulary


def _is_finished(output_path: Path, record_path: Path, settings: dict) -> bool:
    try:
        record = json.loads(record_path.read_text(encoding="utf-8"))
        model = sha256_file(output_path)
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    return record == {**settings, "model_sha256": model}
