"""Search by meaning on the page: offered where the index has vectors and their model, and left out with a warning where not."""

from __future__ import annotations

import shutil

import pytest

from llmjp_jax.search import CorpusIndex, build_index
from llmjp_jax.search.web import Application
from llmjp_jax.search.web.server import nearest_of
from llmjp_jax.tokenizer import load_vocabulary
from tests.search.web.conftest import HOSTILE, ask, serving, write_hostile_store


@pytest.fixture(scope="module")
def dense_world(tmp_path_factory, small_corpora):
    """The folder of a small index with vectors, and that of their model."""
    pytest.importorskip("usearch", reason="the extra dense")
    pytest.importorskip("sentence_transformers", reason="the extra dense")
    from llmjp_jax.search.dense import build_dense
    from tests.search.dense.models import save_bert

    folder = tmp_path_factory.mktemp("near")
    prefix = write_hostile_store(folder / "cache", load_vocabulary(small_corpora.vocabulary))
    build_index(folder / "index", [prefix], small_corpora.vocabulary, processes=1)
    model = save_bert(folder / "model", small_corpora.texts["en", "train"][:200])
    with CorpusIndex(folder / "index") as index:
        build_dense(index, model)
    return folder / "index", model


def test_a_reader_finds_documents_by_meaning(dense_world):
    folder, _ = dense_world
    with CorpusIndex(folder) as index:
        near = nearest_of(index)
        with serving(Application(index, near=near)) as server:
            page = ask(server, q="the end", mode="near").text
            found = ask(server, "/api/search", q="the end", mode="near", limit=3).json["hits"]
            too_long = ask(server, q=HOSTILE[1]["text"] * 20, mode="near")
        expected = near.nearest("the end", limit=3).hits
    assert [(hit["document"], hit["score"]) for hit in found] == [
        (str(hit.document), hit.score) for hit in expected
    ]
    assert f"The nearest of {len(HOSTILE)} documents" in page and f"cosine {found[0]['score']:.2f}" in page  # fmt: skip
    assert page.count("<li><div") == len(HOSTILE) and "<img" not in page and "<script" not in page
    assert too_long.status == 400 and "<h1>This cannot be answered</h1>" in too_long.text


def test_without_the_model_there_is_a_warning_and_no_such_mode(dense_world, tmp_path, capsys):
    folder, model = dense_world
    away = model.rename(tmp_path / "away")
    try:
        with CorpusIndex(folder) as index:
            near = nearest_of(index)
            assert near is None and "warning: no search by meaning" in capsys.readouterr().err
            with serving(Application(index, near=near)) as server:
                assert 'value="near"' not in ask(server).text
                assert ask(server, q="x", mode="near").status == 400
    finally:
        shutil.move(away, model)


def test_an_index_without_vectors_has_no_such_mode(index, capsys):
    assert nearest_of(index) is None and capsys.readouterr().err == ""
