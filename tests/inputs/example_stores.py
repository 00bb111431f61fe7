"""Small stores of examples and pairs with masks, and what a batch must hold of them, computed in the plainest way."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from llmjp_jax.inputs import Examples, ExamplesConfig, Source, TokenStore, TokenStoreWriter

EOS = 7


def write_store(prefix: Path, documents, masks, kind: str = "examples", **details) -> TokenStore:
    """A store of these ids and masks, with the manifest that `build_examples` would write."""
    writer = TokenStoreWriter(prefix, np.int32, masked=True)
    for ids, mask in zip(documents, masks, strict=True):
        writer.add(ids, mask=np.asarray(mask, np.uint8))
    writer.commit(
        {
            "kind": kind,
            "template": "v1.1",
            "vocabulary": {"path": "v.model", "fingerprint": "f"},
            "documents": writer.documents,
            "tokens": writer.tokens,
            "sha256": writer.sha256(),
            "mask_sha256": writer.sha256(".mask"),
            **details,
        }
    )
    return TokenStore(prefix)


def random_example(random: np.random.Generator, prompt: int, response: int):
    ids = np.append(random.integers(8, 30_000, prompt + response - 1), EOS)
    return ids, np.repeat([0, 1], [prompt, response])


def example_store(prefix: Path, count: int = 40, seed: int = 0, longest: int = 14) -> TokenStore:
    """Examples of 1 to `longest` tokens of prompt and of response."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, longest + 1, (count, 2))
    examples = [random_example(random, prompt, response) for prompt, response in lengths]
    return write_store(prefix, *zip(*examples, strict=True))


def pair_store(prefix: Path, count: int = 40, seed: int = 0, longest: int = 14) -> TokenStore:
    """Pairs whose prompts are equal."""
    random = np.random.default_rng(seed)
    examples = []
    for prompt, chosen, rejected in random.integers(1, longest + 1, (count, 3)):
        start = random.integers(8, 30_000, prompt)
        for response in (chosen, rejected):
            ids, mask = random_example(random, prompt, response)
            examples.append((np.append(start, ids[prompt:]), mask))
    return write_store(prefix, *zip(*examples, strict=True), kind="pairs")


def examples_of(*sources: Source, length=32, rows=4, seed=0, **config) -> Examples:
    return Examples(
        sources=sources,
        sequence_length=length,
        batch_size=rows,
        seed=seed,
        config=ExamplesConfig(**config),
    )


def targets_of(batch) -> list[tuple]:
    """Every target that carries loss or not: (token, target, weight, position), padding left out."""
    fields = ("tokens", "targets", "loss_weights", "positions")
    there = batch["segment_ids"] > 0
    return list(zip(*(batch[field][there].tolist() for field in fields), strict=True))


def expected_targets(ids, mask) -> list[tuple]:
    """The same of one example by itself."""
    return [(int(ids[i]), int(ids[i + 1]), float(mask[i + 1]), i) for i in range(len(ids) - 1)]


def segments_of(batch) -> list[tuple[tuple[int, ...], ...]]:
    """The contents of every segment, by row, as tuples of (token, target, weight, position)."""
    found = []
    for row in range(len(batch["tokens"])):
        for segment in range(1, int(batch["segment_ids"][row].max()) + 1):
            held = {
                field: batch[field][row][batch["segment_ids"][row] == segment] for field in batch
            }
            found.append(
                tuple(
                    zip(
                        held["tokens"].tolist(),
                        held["targets"].tolist(),
                        held["loss_weights"].tolist(),
                        held["positions"].tolist(),
                        strict=True,
                    )
                )
            )
    return found


def epoch_segments(examples: Examples, epoch: int = 0) -> Counter:
    """How often each segment is in an epoch."""
    first = epoch * examples.steps_per_epoch()
    found = Counter()
    for step in range(first, first + examples.steps_per_epoch()):
        found.update(segments_of(examples.batch(step)))
    return found


def equal(one, other) -> bool:
    """Whether two batches have the same fields and values."""
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)
