"""From a cache folder and a name to `Inputs`: finds the stores of a Task or Mixture and checks that they are usable.

CACHE_DIR/<task>/<split>.bin .idx .json      one store for each split of each Task
CACHE_DIR/<mixture>.mixture.json             {"weights": {"<task>": 50, ...}}: shares of the tokens
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from llmjp_jax.errors import UserError
from llmjp_jax.inputs.batches import Inputs, Source
from llmjp_jax.inputs.token_store import TokenStore


def open_inputs(
    cache_dir: str | os.PathLike,
    mixture_or_task_name: str,
    split: str,
    sequence_length: int,
    batch_size: int,
    seed: int = 0,
    document_mask: bool = False,
    vocabulary_fingerprint: str | None = None,
) -> Inputs:
    """The `Inputs` of a Task, or of a Mixture with its weights, from stores that `tools/cache_tasks.py` built.

    Args:
      cache_dir: the folder of the stores.
      mixture_or_task_name: a name that was built there.
      split: `train` or `validation`.
      sequence_length: tokens of a row.
      batch_size: rows of the global batch.
      seed: of the order of the windows.
      document_mask: whether documents of a row are kept apart; see `batch_at`.
      vocabulary_fingerprint: that of the model's vocabulary; None takes stores of any vocabulary.

    Raises:
      UserError: a store is missing or damaged, or was built with another vocabulary.
    """
    weights = read_weights(cache_dir, mixture_or_task_name)
    stores = open_stores(cache_dir, mixture_or_task_name, split, vocabulary_fingerprint)
    return Inputs(
        sources=tuple(Source(name, weights[name], store) for name, store in stores.items()),
        sequence_length=sequence_length,
        batch_size=batch_size,
        seed=seed,
        document_mask=document_mask,
    )


def open_stores(
    cache_dir: str | os.PathLike,
    mixture_or_task_name: str,
    split: str,
    vocabulary_fingerprint: str | None = None,
    required: bool = True,
) -> dict[str, TokenStore]:
    """The stores of one split by Task name: for validation of each corpus on its own. Raises as `open_inputs`.

    Args:
      required: False leaves out the Tasks that do not have the split.
    """
    cache_dir, stores = Path(cache_dir), {}
    for task in read_weights(cache_dir, mixture_or_task_name):
        prefix = cache_dir / task / split
        if not prefix.with_name(f"{split}.idx").is_file():
            if not required:
                continue
            raise UserError(
                _missing(cache_dir, mixture_or_task_name, f"the {split} split of {task}", prefix)
            )
        store = TokenStore(prefix)
        if store.num_tokens < 2:
            raise UserError(
                f"the store {prefix} has {store.num_tokens} tokens, too few to predict one; give {task} more text"
            )
        built_with = (store.manifest or {}).get("vocabulary", {}).get("fingerprint")
        if built_with and vocabulary_fingerprint and built_with != vocabulary_fingerprint:
            raise UserError(
                f"the store {prefix} was built with vocabulary {store.manifest['vocabulary']['path']} (fingerprint "
                f"{built_with[:12]}), but the given vocabulary has fingerprint {vocabulary_fingerprint[:12]}; give "
                "that vocabulary, or build the store again with tools/cache_tasks.py --overwrite"
            )
        stores[task] = store
    return stores


def read_weights(cache_dir: str | os.PathLike, mixture_or_task_name: str) -> dict[str, int]:
    """The Tasks of a Mixture with their integer shares of the tokens; a Task by itself has weight 1."""
    cache_dir = Path(cache_dir)
    path = mixture_path(cache_dir, mixture_or_task_name)
    if not path.is_file():
        if (cache_dir / mixture_or_task_name).is_dir():
            return {mixture_or_task_name: 1}
        raise UserError(_missing(cache_dir, mixture_or_task_name, mixture_or_task_name, path))
    try:
        weights = json.loads(path.read_bytes())["weights"]
        usable = bool(weights) and all(type(w) is int and w > 0 for w in weights.values())
    except (ValueError, KeyError, TypeError, AttributeError):
        usable = False
    if not usable:
        raise UserError(
            f'{path} must hold {{"weights": {{task: positive integer}}}}; build it with tools/cache_tasks.py'
        )
    return weights


def mixture_path(cache_dir: Path, mixture: str) -> Path:
    return Path(cache_dir) / f"{mixture}.mixture.json"


def _missing(cache_dir: Path, name: str, what: str, searched: Path) -> str:
    return (
        f"there is no token store of {what} in {cache_dir} (searched {searched} and {cache_dir / name}); build it with: "
        f"python tools/cache_tasks.py --mixture_or_task_name={name} --cache_dir={cache_dir} (or --jsonl={name}=FILE)"
    )
