"""The three arrays in which Megatron-LM keeps the order of a data set, and the two in which it keeps a blend.

The algorithm is that of llm-jp/Megatron-LM, branch llmjp0-mdx (megatron/data/gpt_dataset.py, blendable_dataset.py,
helpers.cpp), which trained LLM-jp v2.0; `tests/inputs/test_megatron.py` compares every number with its own.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from tqdm import tqdm

from llmjp_jax.inputs.token_store import TokenStore

BLEND_BLOCK = 4096  # samples between two rows of counts
_DOCUMENTS_AT_ONCE = 1 << 22
# A last epoch of which less than this part is needed is shuffled by itself.
_SEPARATE_BELOW = 0.80


def epochs_needed(tokens: int, sequence_length: int, samples: int) -> int:
    """The least number of epochs of `tokens` tokens that hold so many samples, consecutive ones sharing a token."""
    return max(1, -(-(samples * sequence_length + 1) // tokens))


def samples_apart(tokens: int, sequence_length: int, samples: int) -> int | None:
    """How many samples the epochs before the last hold, if the last is shuffled by itself; None if all are as one."""
    epochs = epochs_needed(tokens, sequence_length, samples)
    if epochs == 1:
        return None
    before = ((epochs - 1) * tokens - 1) // sequence_length
    per_epoch = (tokens - 1) // sequence_length
    return before if samples - before < int(_SEPARATE_BELOW * per_epoch) else None


def write_sample_indices(
    folder: Path, store: TokenStore, sequence_length: int, seed: int, samples: int
) -> None:
    """Writes `documents.npy`, `samples.npy` and `shuffle.npy`, Megatron's doc_idx, sample_idx and shuffle_idx.

    documents: [epochs * sequences], the sequences of the store (what Megatron calls a document is a sequence of the
    .idx) in the order in which they are joined. samples: [n + 1, 2], for each sample the place in `documents` and the
    offset there of its first token; it ends with the next one's first. shuffle: [n], the sample that is read i-th.
    The shuffles are made in memory: 4 bytes for each document of each epoch, then for each sample.
    """
    random = np.random.RandomState(seed)  # noqa: NPY002 -- its stream is the order
    epochs = epochs_needed(store.num_tokens, sequence_length, samples)
    apart = samples_apart(store.num_tokens, sequence_length, samples)
    sequences = store.num_sequences
    documents = np.tile(np.arange(sequences, dtype=np.int32), epochs)
    together = documents if apart is None else documents[: (epochs - 1) * sequences]
    random.shuffle(together)
    random.shuffle(documents[len(together) :])
    np.save(folder / "documents.npy", documents)

    count = (epochs * store.num_tokens - 1) // sequence_length
    _write_samples(folder / "samples.npy", store, documents, sequence_length, count)
    del documents

    # What Megatron takes when its own type would not hold the numbers.
    dtype = np.uint32 if count < np.iinfo(np.uint32).max - 1 else np.int64
    shuffle = np.arange(count, dtype=dtype)
    together = shuffle if apart is None else shuffle[:apart]
    random.shuffle(together)
    random.shuffle(shuffle[len(together) :])
    np.save(folder / "shuffle.npy", shuffle)


def _write_samples(
    path: Path, store: TokenStore, documents: np.ndarray, length: int, count: int
) -> None:
    """Sample i begins at token i L of the joined documents: the last document that begins there or before holds it."""
    dtype = np.int32 if len(documents) <= np.iinfo(np.int32).max else np.int64
    samples = np.lib.format.open_memmap(path, "w+", dtype, (count + 1, 2))
    samples[0] = 0  # also where the first documents are empty
    token, sample = 0, 1
    blocks = range(0, len(documents), _DOCUMENTS_AT_ONCE)
    for first in tqdm(blocks, desc=f"sample order of {store.prefix}", delay=2, unit="block"):
        lengths = store.sequence_lengths(documents[first : first + _DOCUMENTS_AT_ONCE])
        ends = token + np.cumsum(lengths)
        token = int(ends[-1])
        last = min(count, (token - 1) // length)
        begins = np.arange(sample, last + 1) * length
        place = np.searchsorted(ends, begins, side="right")
        samples[sample : last + 1, 0] = first + place
        samples[sample : last + 1, 1] = begins - (ends[place] - lengths[place])
        sample = last + 1
    samples.flush()


def samples_of_blend(weights: list[float], samples: int) -> list[int]:
    """How many samples Megatron has each data set of a blend provide: its share and half a per cent more."""
    return [math.ceil(samples * weight * 1.005) for weight in weights]


def normalised(weights: list[float]) -> list[float]:
    """The weights by their sum, added up one by one."""
    total = 0.0
    for weight in weights:
        total += weight
    return [weight / total for weight in weights]


def write_blend(folder: Path, weights: list[float], size: int) -> None:
    """Writes `sources.npy` [size] int16, Megatron's dataset_index, and `counts.npy` [size / BLEND_BLOCK, sources].

    Sample i comes from the source whose count lags furthest behind its weight times max(i, 1), in float64 and of
    several the first. A row of counts is those before each block, from which follow all of Megatron's
    dataset_sample_index. About a microsecond a sample, whatever the number of sources.
    """
    shares = np.array(weights, np.float64)
    shares /= np.sum(shares)
    counts = np.zeros(len(shares))
    sources = np.lib.format.open_memmap(folder / "sources.npy", "w+", np.int16, (size,))
    before = np.zeros((-(-size // BLEND_BLOCK), len(shares)), np.int64)
    lag = np.empty(len(shares))
    subtract, furthest = np.subtract, lag.argmax
    blocks = range(0, size, BLEND_BLOCK)
    for block, first in enumerate(tqdm(blocks, desc="blend", delay=2, unit="block")):
        before[block] = counts
        numbers = np.arange(first, min(first + BLEND_BLOCK, size), dtype=np.float64)
        taken = []
        for due in np.maximum(numbers, 1.0)[:, None] * shares:
            subtract(due, counts, lag)
            source = furthest()
            counts[source] += 1
            taken.append(source)
        sources[first : first + len(taken)] = taken
    sources.flush()
    np.save(folder / "counts.npy", before)
