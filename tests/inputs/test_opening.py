"""open_inputs: the layout of a cache folder, its mistakes, and that reading needs no TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.files import repository_root
from llmjp_jax.inputs import TokenStoreWriter, open_inputs, open_stores


@pytest.fixture
def cache(tmp_path):
    for number, task in enumerate(("ja", "en")):
        for split in ("train", "validation"):
            writer = TokenStoreWriter(tmp_path / task / split, np.uint16)
            for document in range(20):
                writer.add(np.arange(document + number, 40))
            manifest = {
                "documents": 20,
                "tokens": writer.tokens,
                "sha256": f"{task} {split}",
                "vocabulary": {"path": "tok.model", "fingerprint": "f" * 64},
            }
            writer.commit(manifest)
    (tmp_path / "both.mixture.json").write_text(json.dumps({"weights": {"ja": 60, "en": 40}}))
    return tmp_path


def test_a_mixture_opens_with_its_weights_and_a_task_with_one(cache):
    both = open_inputs(cache, "both", "train", 16, 4, vocabulary_fingerprint="f" * 64)
    assert [(source.name, source.weight) for source in both.sources] == [("ja", 60), ("en", 40)]
    alone = open_inputs(cache, "en", "validation", 16, 4, seed=5, document_mask=True)
    assert [(source.name, source.weight) for source in alone.sources] == [("en", 1)]
    assert alone.seed == 5 and alone.document_mask
    assert list(open_stores(cache, "both", "validation")) == ["ja", "en"]


def test_a_store_that_is_not_there_names_the_command_that_builds_it(cache):
    with pytest.raises(
        UserError, match=r"no token store of fr .*cache_tasks.py .*=fr --cache_dir="
    ):
        open_inputs(cache, "fr", "train", 16, 4)
    (cache / "en" / "train.idx").unlink()
    with pytest.raises(UserError, match=r"train split of en .*--mixture_or_task_name=both"):
        open_inputs(cache, "both", "train", 16, 4)


def test_a_store_of_another_vocabulary_is_refused(cache):
    with pytest.raises(UserError, match=r"ja/train was built with vocabulary tok\.model"):
        open_inputs(cache, "both", "train", 16, 4, vocabulary_fingerprint="e" * 64)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weights": {}}', '{"weights": {"ja": 0.5}}'])
def test_a_damaged_mixture_file_is_refused(cache, text):
    (cache / "both.mixture.json").write_text(text)
    with pytest.raises(UserError, match=r"both\.mixture\.json must hold"):
        open_inputs(cache, "both", "train", 16, 4)


def test_reading_needs_neither_tensorflow_nor_seqio_nor_jax(cache):
    program = """
import sys
for name in ("tensorflow", "seqio", "tensorflow_datasets", "jax", "torch"):
    sys.modules[name] = None  # importing it raises ImportError
from llmjp_jax.inputs import batch_at, epoch_batches, open_inputs, open_stores, prefetch, where
inputs = open_inputs(sys.argv[1], "both", "train", 16, 4)
assert len(where(inputs, 3)) == 4
for step, batch in prefetch(inputs, 0, lambda batch: batch["tokens"].sum(), stop_step=2):
    assert batch == batch_at(inputs, step)["tokens"].sum()
assert len(list(epoch_batches(open_stores(sys.argv[1], "ja", "validation")["ja"], 16, 4))) > 1
"""
    result = subprocess.run(
        [sys.executable, "-c", program, str(cache)],
        cwd=repository_root(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
