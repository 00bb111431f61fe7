"""Small stores and a small vocabulary for the tests of this room and of `tasks`."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from llmjp_jax.inputs import Source, TokenStore, TokenStoreWriter
from llmjp_jax.tokenizer import load_vocabulary
from tests.inputs.example_stores import example_store, pair_store
from tests.inputs.small_corpora import corpus, texts


@pytest.fixture
def make_store(tmp_path):
    """make_store(name, documents, eod=7) -> TokenStore; the end token is added to each document."""

    def make(name: str, documents, eod: int | None = 7, manifest: dict | None = None) -> TokenStore:
        writer = TokenStoreWriter(tmp_path / name, np.int32)
        for ids in documents:
            writer.add([*ids, eod] if eod is not None else ids)
        writer.commit(manifest)
        return TokenStore(tmp_path / name)

    return make


@pytest.fixture
def random_store(make_store):
    """random_store(name, documents=50, seed=0, longest=30) -> TokenStore; some documents are empty but for the end."""

    def make(name: str, documents: int = 50, seed: int = 0, longest: int = 30) -> TokenStore:
        random = np.random.default_rng(seed)
        lengths = random.integers(0, longest, documents)
        return make_store(name, [random.integers(8, 1000, n) for n in lengths])

    return make


TEXTS = [
    "吾輩は猫である。名前はまだ無い。",
    "The cat sat on the mat.",
    "def add(a, b):\n    return a + b\n",
    "どこで生れたかとんと見当がつかぬ。",
    "A journey of a thousand miles begins with a single step.",
    "何でも薄暗いじめじめした所でニャーニャー泣いていた事だけは記憶している。",
]


@pytest.fixture(scope="session")
def small_vocabulary(tmp_path_factory) -> Path:
    """A Unigram model of about 400 pieces with byte fallback, as a .model file."""
    return _train(tmp_path_factory.mktemp("vocabulary") / "small.model", 400, byte_fallback=True)


@pytest.fixture(scope="session")
def other_vocabulary(tmp_path_factory) -> Path:
    """Another such model; without byte fallback, so that it has unknown characters."""
    return _train(tmp_path_factory.mktemp("vocabulary") / "other.model", 130, byte_fallback=False)


def _train(path: Path, vocab_size: int, byte_fallback: bool) -> Path:
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 4),
        model_writer=model,
        vocab_size=vocab_size,
        byte_fallback=byte_fallback,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        minloglevel=2,
        num_threads=1,
    )
    path.write_bytes(model.getvalue())
    return path


@pytest.fixture
def vocabulary(small_vocabulary):
    return load_vocabulary(small_vocabulary)


@pytest.fixture
def ja(tmp_path, vocabulary):
    """A Task `ja` of two training files and one for validation; gives their texts by split."""
    pytest.importorskip("seqio")
    from llmjp_jax import tasks

    files = {
        "train": [corpus(tmp_path / "a.jsonl", 60, 1), corpus(tmp_path / "b.jsonl", 40, 2)],
        "validation": corpus(tmp_path / "v.jsonl", 9, 3),
    }
    tasks.register_jsonl_task("ja", files, vocabulary)
    return {"train": texts(60, 1) + texts(40, 2), "validation": texts(9, 3)}


@pytest.fixture(
    params=[{"packing": True}, {"packing": False}, {"packing": False, "buckets": (7, 32)}],
    ids=["packed", "padded", "two buckets"],
)
def mode(request) -> dict:
    """The ways in which examples become rows."""
    return request.param


@pytest.fixture
def sources(tmp_path) -> tuple[Source, ...]:
    """Three sources, of which one comes three times in an epoch."""
    stores = [example_store(tmp_path / name, 40, seed) for seed, name in enumerate("abc")]
    return tuple(Source(n, w, s) for n, w, s in zip("abc", (1, 3, 1), stores, strict=True))


@pytest.fixture
def pairs(tmp_path) -> Source:
    """A source of pairs, two times in an epoch."""
    return Source("pairs", 2, pair_store(tmp_path / "pairs", 40, 5, longest=8))
