"""An index of the small corpora with vectors, and the models that made them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from llmjp_jax.search import CorpusIndex
from tests.search.dense.models import save_bert, save_cross_lingual, training_pairs
from tests.search.small_corpora import documents

pytest.importorskip("usearch", reason="the extra dense")
HELD_OUT = 2000  # the index holds these English sentences, and their Japanese


@pytest.fixture(scope="session")
def cross_lingual(tmp_path_factory) -> Path:
    """A model that has seen none of the index's pairs of sentences."""
    return save_cross_lingual(
        tmp_path_factory.mktemp("models") / "cross-lingual", training_pairs(HELD_OUT)
    )


@pytest.fixture(scope="session")
def bert(tmp_path_factory) -> Path:
    return save_bert(tmp_path_factory.mktemp("models") / "bert", documents("en", 500))


@pytest.fixture(scope="session")
def dense_folder(tmp_path_factory, small_index_folder, cross_lingual) -> Path:
    """A copy of the small index, with vectors; to be read only."""
    from llmjp_jax.search.dense import build_dense

    folder = tmp_path_factory.mktemp("dense") / "index"
    shutil.copytree(small_index_folder, folder)
    with CorpusIndex(folder) as index:
        build_dense(index, cross_lingual)
    return folder


@pytest.fixture(scope="session")
def dense(dense_folder):
    from llmjp_jax.search.dense import DenseIndex

    with CorpusIndex(dense_folder) as index:
        yield DenseIndex(index)
