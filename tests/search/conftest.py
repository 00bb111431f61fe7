"""A small index of real sentences and code, and what it was made of."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from llmjp_jax.search import CorpusIndex, build_index
from llmjp_jax.tokenizer import load_vocabulary, train_unigram
from tests.search.small_corpora import ODD, documents, write_store


class SmallCorpora(NamedTuple):
    """`texts` by (subset, split); the folder of the stores, the vocabulary's file."""

    texts: dict[tuple[str, str], list[str]]
    cache: Path
    vocabulary: Path

    @property
    def prefixes(self) -> list[Path]:
        return [self.cache / subset / split for subset, split in self.texts]


@pytest.fixture(scope="session")
def small_corpora(tmp_path_factory) -> SmallCorpora:
    """Stores ja/train, ja/validation, en/train and code/train, with the odd documents in ja/train."""
    folder = tmp_path_factory.mktemp("search")
    ja, en, code = documents("ja", 3000), documents("en", 2000), documents("code", 5)
    texts = {
        ("ja", "train"): [*ja[:1000], *ODD, *ja[1000:2800], *ja[:50]],
        ("ja", "validation"): ja[2800:],
        ("en", "train"): en,
        ("code", "train"): code,
    }
    path = folder / "tokenizer.model"
    train_unigram([*ja, *en[:500], code[0]], path, vocab_size=2000)
    vocabulary = load_vocabulary(path)
    for (subset, split), some in texts.items():
        write_store(folder / "cache", subset, split, some, vocabulary)
    return SmallCorpora(texts, folder / "cache", path)


@pytest.fixture(scope="session")
def small_index_folder(tmp_path_factory, small_corpora) -> Path:
    """The folder of an index of the small corpora, of several shards a store; to be read only."""
    folder = tmp_path_factory.mktemp("index") / "index"
    build_index(
        folder, small_corpora.prefixes, small_corpora.vocabulary, processes=1, shard_tokens=20_000
    )
    return folder


@pytest.fixture(scope="session")
def small_index(small_index_folder):
    with CorpusIndex(small_index_folder) as index:
        yield index


@pytest.fixture(scope="session")
def traced_world(tmp_path_factory, tiny_vocabulary):
    """Stores in which every token id stands once, for `traced_runs`; to be read only."""
    from tests.search.traced_runs import build_world

    return build_world(tmp_path_factory.mktemp("world"), tiny_vocabulary)
