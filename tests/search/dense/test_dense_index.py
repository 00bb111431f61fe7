"""Nearest documents: cosines are numpy's, the graph misses few, languages meet, filters hold, threads agree."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.search import CorpusIndex, Where
from llmjp_jax.search.dense import DenseIndex
from llmjp_jax.search.dense.embedding import Embedder
from llmjp_jax.search.results import Counts
from tests.search.dense.conftest import HELD_OUT


@pytest.fixture(scope="module")
def english(small_corpora, cross_lingual):
    """The vectors of the English sentences, each a single passage: float [documents, dimensions]."""
    texts = small_corpora.texts["en", "train"]
    return Embedder(cross_lingual).documents([text.strip() for text in texts]).astype(np.float64)


def cosines(query: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.nan_to_num(vectors @ query / np.linalg.norm(vectors, axis=1), nan=-2)


def test_scores_are_the_cosines_that_numpy_computes_and_the_best_ones(dense, english, cross_lingual):  # fmt: skip
    query = "Where is the library?"
    expected = cosines(Embedder(cross_lingual).query(query).astype(np.float64), english)
    for exact in (True, False):
        hits = dense.nearest(query, Where(("en",)), limit=20, exact=exact).hits
        assert len(hits) == 20
        got = [hit.score for hit in hits]
        np.testing.assert_allclose(got, expected[[hit.document.number for hit in hits]], atol=1e-6)
        np.testing.assert_allclose(got, np.sort(expected)[::-1][:20], atol=1e-6)


def test_the_graph_misses_few_of_the_nearest(dense, small_corpora):
    queries = small_corpora.texts["ja", "validation"][:60] + small_corpora.texts["en", "train"][:60]
    recalls = []
    for query in queries:
        near, all_of_them = (dense.nearest(query, exact=exact).hits for exact in (False, True))
        least = all_of_them[-1].score - 1e-6  # one of the same score is as good
        recalls.append(sum(hit.score >= least for hit in near) / len(all_of_them))
    assert np.mean(recalls) > 0.97
    print(f"recall of the ten nearest: {np.mean(recalls):.4f}")


def test_a_japanese_sentence_finds_its_english_though_the_model_never_saw_the_pair(
    dense, small_corpora
):
    """By chance ten of 2,000 documents hold it one time in 200."""
    ja, en = small_corpora.texts["ja", "train"], small_corpora.texts["en", "train"]
    numbers = range(0, 1000, 7)
    found = 0
    for number in numbers:
        hits = dense.nearest(ja[number], Where(("en",))).hits
        found += en[number] in {hit.after for hit in hits}
    recall, chance = found / len(numbers), 10 / HELD_OUT
    print(f"{recall:.3f} of {len(numbers)} Japanese sentences find their English among the ten nearest; chance {chance:.3f}")  # fmt: skip
    assert recall > 30 * chance


def test_an_english_question_finds_japanese_documents(dense):
    hits = dense.nearest("He is reading a book in the library.", Where(("ja",)), limit=10).hits
    assert any("本" in hit.after or "図書館" in hit.after for hit in hits)


def test_a_long_document_is_found_by_the_passage_that_says_it(dense, small_corpora):
    texts = small_corpora.texts["code", "train"]
    place = texts[1].index("class Differ:")
    passage = texts[1][place + 20 : place + 220].strip()
    (hit, *_) = dense.nearest(passage, Where(("code",)), limit=3, exact=True).hits
    assert hit.document.number == 1 and hit.after in texts[1]
    assert texts[1].index(hit.after) > 1000 and abs(texts[1].index(hit.after) - place) < 1500


def test_each_document_is_a_hit_once_and_copies_of_a_text_are_all_found(dense, small_corpora):
    ja = small_corpora.texts["ja", "train"]
    hits = dense.nearest(ja[3], limit=60).hits
    assert len({hit.document for hit in hits}) == 60
    same = [hit for hit in hits if hit.after == ja[3]]
    assert len(same) == sum(t.count(ja[3]) for ts in small_corpora.texts.values() for t in ts) > 1
    assert [hit.score for hit in hits] == sorted([hit.score for hit in hits], reverse=True)


def test_a_document_of_many_passages_is_a_hit_once_by_the_best(dense, small_corpora):
    for exact in (True, False):
        hits = dense.nearest("the next item of a list", Where(("code",)), limit=4, exact=exact).hits
        assert len({hit.document.number for hit in hits}) == 4
        fewer = dense.nearest(
            "the next item of a list", Where(("code",)), limit=1, exact=exact
        ).hits
        assert hits[:1] == fewer


def test_hits_say_where_they_come_from_and_counts_how_many_were_compared(dense, small_corpora):
    results = dense.nearest("cat", Where(("en",)), limit=1)
    (hit,) = results.hits
    assert hit.licence == "CC-en" and hit.source.startswith(f"en/{hit.document.number};")
    assert (hit.start, hit.occurrences, hit.before, hit.match) == (0, 0, "", "")
    assert results.counts == results.by_store["en", "train"] == Counts(len(small_corpora.texts["en", "train"]), 0)  # fmt: skip
    assert results.seconds > 0
    assert len(dense.nearest("cat", limit=1, characters=3).hits[0].after) == 3


def test_only_the_stores_that_were_asked_for_are_looked_into(dense):
    for where in (Where(("ja",)), Where(splits=("validation",)), Where(("ja", "code"), ("train",))):
        results = dense.nearest("猫", where, limit=50)
        stores = {(hit.document.subset, hit.document.split) for hit in results.hits}
        assert stores <= set(results.by_store)
        assert all(where.subsets is None or subset in where.subsets for subset, _ in results.by_store)  # fmt: skip
        assert all(where.splits is None or split in where.splits for _, split in results.by_store)
    with pytest.raises(UserError, match="no subset 'fr'"):
        dense.nearest("猫", Where(("fr",)))


def test_more_than_there_is_gives_all_there_is(dense, small_corpora):
    hits = dense.nearest("猫", Where(("code",)), limit=100).hits
    assert len(hits) == len(small_corpora.texts["code", "train"])
    assert dense.nearest("猫", limit=0).hits == ()
    assert len(dense.nearest("猫", limit=6000).hits) == dense.nearest("猫").counts.documents


@pytest.mark.parametrize("text", ["", " \n\u3000"])
def test_an_empty_text_is_refused(dense, text):
    with pytest.raises(UserError, match="nothing to look for"):
        dense.nearest(text)


def test_a_text_that_the_model_does_not_know_is_refused(dense):
    with pytest.raises(UserError, match="knows nothing of this text"):
        dense.nearest("\U000e0041")


def test_threads_get_the_answers_that_one_gets(dense, small_corpora):
    queries = small_corpora.texts["ja", "validation"][:40] * 2
    alone = [dense.nearest(query).hits for query in queries]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda query: dense.nearest(query).hits, queries)) == alone


def test_an_index_without_vectors_says_how_to_make_them(small_index):
    with pytest.raises(UserError, match="has no vectors; make them with"):
        DenseIndex(small_index)


def test_the_model_is_looked_for_where_it_was_or_where_one_says(dense_folder, cross_lingual, tmp_path):  # fmt: skip
    moved = shutil.copytree(cross_lingual, tmp_path / "moved")
    with CorpusIndex(dense_folder) as index:
        assert DenseIndex(index, moved).nearest("cat").hits
        with pytest.raises(UserError, match="there is no folder"):
            DenseIndex(index, tmp_path / "gone")


@pytest.mark.parametrize("name", ["vectors.bin", "passages.npy", "graph.usearch"])
@pytest.mark.parametrize("how", ["cut", "missing"])
def test_a_damaged_part_is_named(dense_folder, tmp_path, name, how):
    folder = shutil.copytree(dense_folder, tmp_path / "index")
    path = sorted((folder / "dense" / "parts").glob("en.*"))[0] / name
    if how == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.unlink()
    with CorpusIndex(folder) as index, pytest.raises(UserError, match="are damaged .*embed again"):
        DenseIndex(index)
