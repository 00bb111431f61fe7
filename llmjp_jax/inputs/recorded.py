"""What a run's record says of its inputs, in words that JSON holds, and the same inputs again from it.

Nothing is built here: what is opened are the stores that the run read.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmjp_jax.inputs.batches import TrainingInputs
from llmjp_jax.inputs.example_config import ExamplesConfig
from llmjp_jax.inputs.examples import Examples
from llmjp_jax.inputs.opening import Names, open_inputs, open_stores, read_weights
from llmjp_jax.inputs.sources import Source
from llmjp_jax.inputs.token_store import TokenStore


def recorded_inputs(
    inputs: TrainingInputs,
    *,
    cache_dir: str | os.PathLike | None,
    mixture_or_task_name: Names | None,
    examples: ExamplesConfig | None,
    total_steps: int,
    **options: Any,
) -> dict[str, Any]:
    """What `reopened` needs: paths as they were given, which may be relative to where the run was started.

    Args:
      inputs: of the run, for training.
      cache_dir, mixture_or_task_name, examples: what they were opened with, by `open_inputs` or `open_examples`.
      total_steps: steps of the run.
      options: sequence_length, batch_size, seed, document_mask and order.

    Returns:
      All of these, and `own_files`: name and prefix of the store that one's own files became, else None.
    """
    own = None
    if examples is not None and examples.train_files:
        (source,) = inputs.sources
        own = {"name": source.name, "store": str(source.store.prefix)}
    names = mixture_or_task_name
    if names is not None and not isinstance(names, str):
        names = [[name, steps] for name, steps in names]
    return {
        "cache_dir": None if cache_dir is None else str(cache_dir),
        "mixture_or_task_name": names,
        **options,
        "total_steps": total_steps,
        "examples": None if examples is None else dataclasses.asdict(examples),
        "own_files": own,
    }


def reopened(
    record: Mapping[str, Any], near: Path, cache_dir: str | os.PathLike | None = None
) -> TrainingInputs:
    """The inputs that `recorded_inputs` described.

    Args:
      record: that description.
      near: a folder of the run; a relative path that is not there is looked for from the folders above it.
      cache_dir: where the stores lie now; None: where they lay.

    Raises:
      UserError: a store is missing or damaged.
      KeyError, TypeError: the description is of another version.
    """
    folder = Path(cache_dir) if cache_dir is not None else _found(record["cache_dir"], near)
    options = {name: record[name] for name in ("sequence_length", "batch_size", "seed")}
    if record["examples"] is None:
        names = record["mixture_or_task_name"]
        options |= {name: record[name] for name in ("document_mask", "order", "total_steps")}
        return open_inputs(folder, names, "train", **options)
    if record["own_files"] is not None:
        sources = [_own_source(record["own_files"], near, cache_dir)]
    else:
        name = record["mixture_or_task_name"]
        weights = read_weights(folder, name)
        stores = open_stores(folder, name, "train")
        sources = [Source(task, weights[task], store) for task, store in stores.items()]
    config = ExamplesConfig(**record["examples"])
    return Examples(sources=tuple(sources), config=config, **options)


def _own_source(own: Mapping[str, str], near: Path, cache_dir: str | os.PathLike | None) -> Source:
    prefix = Path(own["store"])
    if cache_dir is not None:  # CACHE_DIR/examples/KEY/examples, as `cached_examples` lays it
        prefix = Path(cache_dir).joinpath(*prefix.parts[-3:])
    else:
        folder = _found(str(prefix.parent), near)
        prefix = folder / prefix.name
    return Source(own["name"], 1, TokenStore(prefix))


def _found(path: str | None, near: Path) -> Path | None:
    """A folder where it was said to be or, if that was said from another folder, below one of those above `near`."""
    if path is None:
        return None
    said = Path(path)
    if said.is_absolute() or said.is_dir():
        return said
    above = (folder / said for folder in near.absolute().parents)
    return next((folder for folder in above if folder.is_dir()), said)
