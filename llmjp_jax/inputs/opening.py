"""From a cache folder and a name to `Inputs`: finds the stores of a Task or Mixture and checks that they are usable.

CACHE_DIR/<task>/<split>.bin .idx .json      one store for each split of each Task
CACHE_DIR/<mixture>.mixture.json             {"weights": {"<task>": 50, ...}}: shares of the tokens

The sources have the order of the mixture's file, on which Megatron's order of the data depends.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from llmjp_jax.errors import UserError
from llmjp_jax.inputs.batches import Inputs, Stages
from llmjp_jax.inputs.sources import Source
from llmjp_jax.inputs.token_store import TokenStore

# The name of a Task or Mixture, or several that are used one after another, each with its number of steps.
Names = str | Sequence[tuple[str, int]]


def open_inputs(
    cache_dir: str | os.PathLike,
    mixture_or_task_name: Names,
    split: str,
    sequence_length: int,
    batch_size: int,
    seed: int = 0,
    document_mask: bool = False,
    order: str = "windows",
    total_steps: int | None = None,
    vocabulary_fingerprint: str | None = None,
) -> Inputs | Stages:
    """The `Inputs` of a Task, or of a Mixture with its weights, from stores that `tools/cache_tasks.py` built.

    Args:
      cache_dir: the folder of the stores.
      mixture_or_task_name: a name that was built there; or pairs of a name and a number of steps, such as
        `(("fold_00", 8787), ("fold_01", 8787))`, which become `Stages`.
      split: `train` or `validation`.
      sequence_length: tokens of a row.
      batch_size: rows of the global batch.
      seed: of the order of the samples.
      document_mask: whether documents of a row are kept apart; see `batch_at`.
      order: 'windows' or 'megatron'; see `Inputs`. Megatron's order of a stage is that of a run of the stage's steps,
        and of the last stage's to `total_steps`.
      total_steps: steps of the run; None where it is not known, which Megatron's order does not allow.
      vocabulary_fingerprint: that of the model's vocabulary; None takes stores of any vocabulary.

    Raises:
      UserError: a store is missing or damaged, or was built with another vocabulary; the stages are no such pairs.
    """
    stages = _stages(mixture_or_task_name, total_steps)
    opened = []
    for name, steps in stages:
        weights = read_weights(cache_dir, name)
        stores = open_stores(cache_dir, name, split, vocabulary_fingerprint)
        opened.append(
            Inputs(
                sources=tuple(Source(task, weights[task], store) for task, store in stores.items()),
                sequence_length=sequence_length,
                batch_size=batch_size,
                seed=seed,
                document_mask=document_mask,
                order=order,
                total_steps=steps,
            )
        )
    if isinstance(mixture_or_task_name, str):
        return opened[0]
    return Stages(opened, [steps for _, steps in mixture_or_task_name])


def _stages(names: Names, total_steps: int | None) -> list[tuple[str, int | None]]:
    """Each name with the steps that its order is made for: of the last one, those to the end of the run."""
    if isinstance(names, str):
        return [(names, total_steps)]
    *before, (last, steps) = checked_stages(names)
    left = (total_steps or 0) - sum(count for _, count in before)
    return [*before, (last, left if left > 0 else steps)]


def checked_stages(names: Names) -> list[tuple[str, int]]:
    """The pairs of `names`; none for a single name.

    Raises:
      UserError: they are no pairs of a name and a number of steps.
    """
    if isinstance(names, str):
        return []
    usable = bool(names) and all(
        isinstance(pair, Sequence)
        and len(pair) == 2
        and isinstance(pair[0], str)
        and type(pair[1]) is int
        and pair[1] > 0
        for pair in names
    )
    if not usable:
        raise UserError(
            f"mixture_or_task_name = {names!r} must be a name, or pairs of a name and its number of steps, such as "
            "(('fold_00', 8787), ('fold_01', 8787))"
        )
    return [tuple(pair) for pair in names]


def open_stores(
    cache_dir: str | os.PathLike,
    mixture_or_task_name: Names,
    split: str,
    vocabulary_fingerprint: str | None = None,
    required: bool = True,
) -> dict[str, TokenStore]:
    """The stores of one split by Task name: for validation of each corpus on its own. Raises as `open_inputs`.

    Args:
      mixture_or_task_name: of several names, the stores of all.
      required: False leaves out the Tasks that do not have the split.
    """
    if not isinstance(mixture_or_task_name, str):
        stores = {}
        for name, _ in _stages(mixture_or_task_name, None):
            stores |= open_stores(cache_dir, name, split, vocabulary_fingerprint, required)
        return stores
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
        f"python tools/cache_tasks.py --mixture_or_task_name={name} --cache_dir={cache_dir}, which says what else it needs"
    )
