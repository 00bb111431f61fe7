"""Log-probabilities of the model that DPO starts from, computed once and kept beside the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from tqdm import tqdm

from llmjp_jax.files import atomic_write
from llmjp_jax.inputs import Examples


def with_references(trainer: Any, start: Callable[[], Any], inputs: Examples, validation: Mapping[str, Examples],
                    directory: Path) -> tuple[Examples, Mapping[str, Examples]]:  # fmt: skip
    """The same examples with the reference's log-probabilities in their batches.

    They are kept as MODEL_DIR/reference/<split>/<source>.npy, one float32 a token of the store; where the data and the
    length of the sequences are those of a file that is there, it is read again.

    Args:
      trainer: computes them. start: gives the parameters of the reference; not called where the files are there.
      inputs, validation: examples that are pairs.
      directory: MODEL_DIR.
    """

    def completed(examples: Examples, split: str) -> Examples:
        return examples.with_reference(_stored(trainer, start, examples, directory, split))

    return completed(inputs, "train"), {
        name: completed(examples, f"validation_{name}") for name, examples in validation.items()
    }


def _stored(
    trainer, start, examples: Examples, directory: Path, split: str
) -> dict[str, np.ndarray]:
    folder = directory / "reference" / split
    record = folder / "reference.json"
    identity = {**examples.identity, "dtype": trainer.model.dtype}
    kept = _kept(folder, record, identity, examples)
    # Either all processes read them or all compute: some may not see the first one's files.
    if _everywhere(kept is not None):
        return kept
    values = reference_log_probabilities(trainer, start(), examples, split)
    if jax.process_index() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        record.unlink(missing_ok=True)
        for name, array in values.items():
            with atomic_write(folder / f"{name}.npy", "wb") as file:
                np.save(file, array)
        # Last: its presence says that the arrays are whole.
        with atomic_write(record, "w") as file:
            json.dump(identity, file, indent=1)
    return values


def _kept(folder: Path, record: Path, identity: dict, examples: Examples):
    """The arrays of an earlier start; None where they are missing, damaged, or of other data."""
    try:
        if json.loads(record.read_bytes()) != json.loads(json.dumps(identity)):
            return None
        values = {}
        for source in examples.sources:
            array = np.load(folder / f"{source.name}.npy", mmap_mode="r", allow_pickle=False)
            if array.shape != (source.store.num_tokens,) or array.dtype != np.float32:
                return None
            values[source.name] = array
        return values
    except (OSError, ValueError, EOFError):
        return None


def _everywhere(holds: bool) -> bool:
    if jax.process_count() == 1:
        return holds
    return bool(multihost_utils.process_allgather(np.int32(holds)).min())


def reference_log_probabilities(
    trainer: Any, weights: Any, examples: Examples, label: str
) -> dict[str, np.ndarray]:
    """log p of every token of the stores that is a target, under `weights`; 0 elsewhere.

    Returns:
      {source: float32 [tokens of its store]}.
    """
    values = {}
    for source in examples.sources:
        scores = np.zeros(source.store.num_tokens, np.float32)
        bar = tqdm(total=len(examples.items[source.name]), desc=f"reference, {label} {source.name}",
                   disable=jax.process_index() != 0, leave=False)  # fmt: skip
        with bar:
            for batch in examples.one_pass(trainer.batch_size, places=True, source=source.name):
                places = batch.pop("places")
                rows = {field: array[trainer.local_rows] for field, array in batch.items()}
                found = np.asarray(trainer.score(weights, trainer.put(rows, trainer.text_fields)))
                scores[places[places >= 0]] = found[places >= 0]
                bar.update(int(batch["segment_ids"].max(axis=1).sum()) // 2)
        values[source.name] = scores
    return values
