"""What the index says equals what one sees who looks at everything."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.inputs import TokenStore
from llmjp_jax.search import CorpusIndex, Counts, DocumentId, Where
from tests.search.brute_force import counts, id_query, joined_ids, joined_texts, text_query

QUERIES = 5_000  # of ids, and as many of texts


@pytest.fixture(scope="module")
def rows(small_corpora):
    stores = {key: TokenStore(small_corpora.cache / "/".join(key)) for key in small_corpora.texts}
    return {key: [store[number] for number in range(len(store))] for key, store in stores.items()}


def test_ids_are_found_and_counted_as_by_looking_at_everything(small_index, rows):
    joined = {key: joined_ids(some) for key, some in rows.items()}
    every = [row for some in rows.values() for row in some]
    vocab_size, choose, hits = small_index.vocabulary.vocab_size, random.Random(1), 0
    for _ in range(QUERIES):
        query = id_query(choose, every, vocab_size)
        expected = {
            key: one.find(np.array(query, np.uint16).tobytes()) for key, one in joined.items()
        }
        results = small_index.find_tokens(query, limit=3, context=2)
        assert results.by_store == {key: counts(found) for key, found in expected.items()}, query
        first = [(DocumentId(*key, n), places[0], len(places)) for key, found in expected.items() for n, places in found.items()]  # fmt: skip
        assert [(h.document, h.start, h.occurrences) for h in results.hits] == first[:3], query
        assert small_index.count_tokens(query) == results.counts
        assert small_index.contains_tokens(query) == bool(first)
        hits += bool(first)
    assert QUERIES / 4 < hits < 3 * QUERIES / 4 + QUERIES / 8  # both kinds were asked


def test_texts_are_found_and_counted_as_by_looking_at_everything(small_index, small_corpora):
    texts = small_corpora.texts
    joined = {key: joined_texts(some) for key, some in texts.items()}
    every = [text for some in texts.values() for text in some]
    choose, hits = random.Random(2), 0
    for _ in range(QUERIES):
        query = text_query(choose, every)
        expected = {key: one.find(query.encode()) for key, one in joined.items()}
        results = small_index.find_text(query, limit=3, context=7)
        assert results.by_store == {key: counts(found) for key, found in expected.items()}, query
        first = [(DocumentId(*key, n), len(places)) for key, found in expected.items() for n, places in found.items()]  # fmt: skip
        assert [(h.document, h.occurrences) for h in results.hits] == first[:3], query
        for hit in results.hits:
            text = texts[hit.document[:2]][hit.document.number]
            assert hit.start == text.find(query)
            assert hit.before == text[max(0, hit.start - 7) : hit.start]
            assert hit.match == query
            assert hit.after == text[hit.start + len(query) :][:7]
        assert small_index.contains_text(query) == bool(first)
        hits += bool(first)
    assert QUERIES / 4 < hits < 7 * QUERIES / 8


def test_a_needle_of_ten_thousand_characters_is_found_whole_or_not_at_all(
    small_index, small_corpora
):
    code = small_corpora.texts["code", "train"]
    text = code[-1][5_000:15_000]
    assert small_index.count_text(text) == Counts(1, 1)
    for place in (0, 5_000, 9_999):
        assert small_index.count_text(text[:place] + "猫" + text[place + 1 :]) == Counts(0, 0)
    ids = small_index.document(DocumentId("code", "train", len(code) - 1)).tokens
    assert small_index.count_tokens(ids) == Counts(1, 1)
    assert small_index.count_tokens([*ids[:-1], ids[0]]) == Counts(0, 0)


def test_an_unending_repetition_is_counted_where_it_overlaps(small_index):
    assert small_index.count_text("東京都京都府東京都", Where(("ja",))).occurrences == 2
    assert small_index.count_text("aaa", Where(("ja",), ("train",))) == Counts(1, 5)


@pytest.mark.parametrize("ask", ["find_text", "count_text", "contains_text", "rank"])
def test_an_empty_text_is_refused_in_words(small_index, ask):
    with pytest.raises(UserError, match="nothing to look for"):
        getattr(small_index, ask)("")


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        ([], "nothing to look for"),
        ([5, -1], "negative"),
        ([2**70], "whole numbers"),
        (["a"], "whole numbers"),
    ],
)
def test_ids_that_are_none_are_refused_in_words(small_index, ids, sentence):
    with pytest.raises(UserError, match=sentence):
        small_index.find_tokens(ids)


def test_ids_beyond_the_vocabulary_are_nowhere(small_index):
    assert small_index.count_tokens([10**12]) == Counts(0, 0)
    assert small_index.count_tokens([7, 65_536 + 7]) == Counts(0, 0)


def test_half_a_character_is_refused_in_words(small_index):
    with pytest.raises(UserError, match="surrogate"):
        small_index.find_text("\ud800")


def test_filters_choose_the_stores(small_index):
    whole = small_index.find_text("を", limit=0).by_store
    for where in (Where(("ja",)), Where(None, ("validation",)), Where(("en", "code"), ("train",))):
        found = small_index.find_text("を", where, limit=10_000)
        chosen = {
            key: count
            for key, count in whole.items()
            if (where.subsets is None or key[0] in where.subsets)
            and (where.splits is None or key[1] in where.splits)
        }
        assert found.by_store == chosen
        assert {hit.document[:2] for hit in found.hits} == {
            k for k, c in chosen.items() if c.documents
        }


@pytest.mark.parametrize("where", [Where(("nowhere",)), Where(None, ("test",))])
def test_a_filter_that_is_not_there_is_refused_in_words(small_index, where):
    with pytest.raises(
        UserError, match="its stores are ja/train, ja/validation, en/train, code/train"
    ):
        small_index.find_text("a", where)


def test_pages_follow_one_another(small_index):
    whole = small_index.find_text("です", limit=1_000).hits
    assert len(whole) > 60
    pages = [
        small_index.find_text("です", limit=7, offset=offset).hits
        for offset in range(0, len(whole), 7)
    ]
    assert tuple(hit for page in pages for hit in page) == whole


def test_documents_come_back_as_they_were(small_index, small_corpora, rows):
    for key, texts in small_corpora.texts.items():
        for number in range(0, len(texts), 97):
            document = small_index.document(DocumentId(*key, number))
            assert document.text == texts[number]
            assert np.array_equal(document.tokens, rows[key][number])
            assert document.meta["id"] == f"{key[0]}/{number}"
            assert document.licence == f"CC-{key[0]}"
            assert document.source == f"{key[0]}/{number}; {key[1]}.jsonl, line {number + 1}"


@pytest.mark.parametrize("id", [("ja", "train", 10**6), ("ja", "test", 0), ("xx", "train", 0)])
def test_a_document_that_is_not_there_is_refused_in_words(small_index, id):
    with pytest.raises(UserError, match=f"no document {'/'.join(map(str, id))}"):
        small_index.document(DocumentId(*id))


def test_token_context_joins_to_the_text(small_index):
    hit = small_index.find_tokens(
        small_index.document(DocumentId("ja", "train", 3)).tokens[2:4]
    ).hits[0]
    document = small_index.document(hit.document)
    assert hit.before + hit.match + hit.after == document.text
    assert hit.match and hit.before


def test_ranking_puts_the_document_with_all_the_rare_words_first(small_index, small_corpora):
    texts = small_corpora.texts["en", "train"]
    number = next(
        n for n, text in enumerate(texts) if texts.count(text) == 1 and len(text.split()) > 8
    )
    found = small_index.rank(texts[number].upper(), Where(("en",)), limit=5)
    assert found.hits[0].document == DocumentId("en", "train", number)
    assert found.hits[0].after == texts[number][:240]
    scores = [hit.score for hit in found.hits]
    assert scores == sorted(scores, reverse=True)
    japanese = small_corpora.texts["ja", "train"][5]
    assert small_index.rank(japanese, limit=1).hits[0].after == japanese[:240]
    assert small_index.rank("zzzyzx").counts == Counts(0, 0)
    assert small_index.rank("。、！").hits == ()


def test_ranked_pages_follow_one_another(small_index):
    whole = small_index.rank("I have a book", limit=30).hits
    assert whole == small_index.rank("I have a book", limit=10).hits + small_index.rank("I have a book", limit=20, offset=10).hits  # fmt: skip


def test_threads_may_ask_at_once(small_index, small_corpora):
    queries = [text[:6] for text in small_corpora.texts["ja", "train"][:200] if len(text) > 6]
    alone = [small_index.find_text(query).hits for query in queries]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda query: small_index.find_text(query).hits, queries)) == alone


def test_a_folder_that_is_no_index_is_refused_in_words(tmp_path):
    with pytest.raises(UserError, match="is no index"):
        CorpusIndex(tmp_path)
