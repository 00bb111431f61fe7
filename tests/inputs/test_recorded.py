"""Inputs described in JSON open again as the same inputs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from llmjp_jax.inputs import (
    ExamplesConfig,
    batch_at,
    build_examples,
    open_examples,
    open_inputs,
    recorded_inputs,
    reopened,
)
from llmjp_jax.tokenizer import load_vocabulary
from tests.inputs.example_files import conversations, preferences, write_lines

SIZES = {"sequence_length": 64, "batch_size": 4, "seed": 3}
TEXT = [
    {},
    {"document_mask": True},
    {"order": "megatron"},
    {"names": (("tiny_ja", 3), ("tiny", 4), ("tiny_en", 1))},
    {"names": [["tiny", 3], ["tiny_ja", 4]], "order": "megatron"},
]


def same(one, other) -> bool:
    batches = [[batch_at(inputs, step) for inputs in (one, other)] for step in (0, 3, 9)]
    return one.fingerprint == other.fingerprint and all(
        np.array_equal(a[name], b[name]) for a, b in batches for name in a
    )


@pytest.mark.parametrize("changes", TEXT, ids=str)
def test_text_opens_again(changes, tiny_cache, tmp_path):
    names = changes.get("names", "tiny")
    options = SIZES | {
        "document_mask": changes.get("document_mask", False),
        "order": changes.get("order", "windows"),
    }
    inputs = open_inputs(tiny_cache, names, "train", total_steps=10, **options)
    record = recorded_inputs(
        inputs, cache_dir=tiny_cache, mixture_or_task_name=names, examples=None, total_steps=10, **options,
    )  # fmt: skip
    assert same(inputs, reopened(json.loads(json.dumps(record)), tmp_path))


PADDED = {"packing": False, "buckets": (256, 512), "max_length": 250}


@pytest.mark.parametrize(
    "of, config",
    [
        ("a Task", {}),
        ("a Task", PADDED),
        ("a Task", {"template": None}),
        ("own files", {}),
        ("own files", PADDED),
        ("own pairs", {"max_prompt_length": 40}),
        ("own pairs", PADDED),
    ],
    ids=str,
)
def test_examples_open_again_without_their_vocabulary_or_files(
    of, config, tmp_path, tiny_vocabulary
):
    vocabulary, cache = load_vocabulary(tiny_vocabulary), tmp_path / "cache"
    records = preferences(20) if of == "own pairs" else conversations(20)
    file, name = write_lines(tmp_path / "mine.jsonl", records), None
    if of == "a Task":
        name, own = "dolly", {}
        build_examples(file, vocabulary, "v1.1", cache / "dolly" / "train")
    else:
        own = {"train_files": [str(file)]}
    config, sizes = ExamplesConfig(**config, **own), SIZES | {"sequence_length": 512}
    inputs = open_examples(config, cache, name, vocabulary=vocabulary, **sizes)
    record = recorded_inputs(
        inputs, cache_dir=cache, mixture_or_task_name=name, examples=config, total_steps=10, document_mask=False,
        order="windows", **sizes,
    )  # fmt: skip
    record = json.loads(json.dumps(record))
    (tmp_path / "mine.jsonl").unlink()
    assert same(inputs, reopened(record, tmp_path))
    cache.rename(tmp_path / "moved")
    again = reopened(record, tmp_path, tmp_path / "moved")
    assert same(inputs, again) and [s.name for s in again.sources] == [name or "mine"]
