"""CACHE_DIR/<mixture>.mixture.json: the shares in which stores are mixed, written beside them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from llmjp_jax.corpus import Mixture
from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write
from llmjp_jax.inputs.opening import mixture_path
from llmjp_jax.inputs.token_store import TokenStore


def write_weights(cache_dir: str | os.PathLike, name: str, weights: Mapping[str, int]) -> Path:
    """Writes the shares of a mixture's Tasks, and returns the file."""
    path = mixture_path(Path(cache_dir), name)
    with atomic_write(path) as file:
        file.write(json.dumps({"weights": dict(weights)}, indent=1).encode() + b"\n")
    return path


def write_manifest_weights(cache_dir: str | os.PathLike, mixture: Mixture) -> Path:
    """Writes a manifest's shares for stores that are there already, such as Megatron's own pre-tokenised files.

    A subset is one store, CACHE_DIR/<task>/train.bin; or one for each of its files, CACHE_DIR/<task>/<file>/train.bin,
    which then divide the subset's share by their tokens, as LLM-jp's scripts did with the dumps of Common Crawl. A
    subset's validation store lies beside its training store, or beside one of them.

    Raises:
      UserError: a subset has no store.
    """
    weights: dict[str, int] = {}
    for task, weight in mixture.task_weights.items():
        folder = Path(cache_dir) / task
        if (folder / "train.idx").is_file():
            weights[task] = weight
            continue
        stores = sorted(path.parent for path in folder.glob("*/train.idx"))
        if not stores:
            raise UserError(
                f"the subset {task} of {mixture.name} has no token store: put it at {folder / 'train'}.bin and .idx, or its "
                f"files at {folder}/<file>/train.bin and .idx"
            )
        tokens = {
            f"{task}/{store.name}": TokenStore(store / "train").num_tokens for store in stores
        }
        weights |= _divided(weight, {name: count for name, count in tokens.items() if count})
    return write_weights(cache_dir, mixture.name, weights)


def _divided(total: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """`total` in whole parts, in proportion to `sizes`: the largest remainders are rounded up, no part is 0."""
    if not sizes:
        raise UserError("the stores of a subset are all empty; give it text")
    whole = sum(sizes.values())
    parts = {name: total * size // whole for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: (-(total * sizes[name] % whole), name))
    for name in by_remainder[: total - sum(parts.values())]:
        parts[name] += 1
    return {name: max(part, 1) for name, part in parts.items()}
