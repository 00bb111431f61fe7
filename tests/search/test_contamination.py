"""Copies of evaluation items in a corpus are found and measured as by looking at everything; what is no copy is not."""

import random
from types import SimpleNamespace

import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.search import CorpusIndex, Counts, Results, Where, build_index
from llmjp_jax.search.contamination import Limits, Question, check, check_item
from llmjp_jax.tokenizer import load_vocabulary
from tests.search.small_corpora import write_store

JAPANESE = "委員会は来年度の予算案を全会一致で可決したが、市長はこれに署名しなかった。"
ENGLISH = "The committee passed next year's budget unanimously, but the mayor refused to sign it before the end of the month."
SHORT = "猫は魚を食べます。"  # 9 characters: shorter than n, and long enough to judge
HALVES = "夕方になると公園では子供たちが大きな声で歌いながら、落ち葉を集めて遊んでいた。"
DOCUMENTS = [
    f"今日の新聞によれば、{JAPANESE}市民はおどろいた。",
    f"News of the day:\n{ENGLISH}\nNobody was surprised.",
    f"昔話。{SHORT}おわり。",
    f"遠い町で。{HALVES[:20]}",
    f"{HALVES[20:]}それから家に帰った。",
    "問題：日本で一番高い山の名前を答えてください。\n答え：富士山",
    "日本で二番目に高い山の名前を答えてください。と先生は言った。",
]
HELD_OUT = "検証のための文書は、訓練では一度も使われないことになっています。"


@pytest.fixture(scope="module")
def planted(tmp_path_factory, small_corpora):
    """Documents with copies in them among the small Japanese corpus."""
    folder, vocabulary = tmp_path_factory.mktemp("planted"), load_vocabulary(small_corpora.vocabulary)  # fmt: skip
    texts = [*small_corpora.texts["ja", "train"][:300], *DOCUMENTS]
    prefixes = [
        write_store(folder / "cache", "web", "train", texts, vocabulary),
        write_store(folder / "cache", "web", "validation", [HELD_OUT], vocabulary),
    ]
    build_index(folder / "index", prefixes, small_corpora.vocabulary, processes=1)
    with CorpusIndex(folder / "index") as index:
        yield index


def asked(input, output="", **further):
    return Question(0, input, output, output)


@pytest.mark.parametrize("text, unit, number", [(JAPANESE, "characters", 300), (ENGLISH, "tokens", 301)])  # fmt: skip
def test_a_planted_copy_is_found_and_marked(planted, text, unit, number):
    found = check_item(planted, asked(text, "?"))
    assert (found.mark, found.covered, found.input.unit) == ("dirty", 1.0, unit)
    assert found.longest.text == text and found.longest.units == found.input.units
    assert (found.longest.documents, found.longest.occurrences) == (1, 1)
    assert found.longest.where[0]["document"] == f"web/train/{number}"
    assert found.longest.where[0]["source"] == f"web/{number}; train.jsonl, line {number + 1}"


@pytest.mark.parametrize("text", [JAPANESE, ENGLISH])
def test_a_copy_within_another_text_counts_by_its_share(planted, text):
    other = "まったく別の話をここでする。" if text == JAPANESE else "Quite another story is being told here."  # fmt: skip
    found = check_item(planted, asked(other + text[:-1] + other + other))
    assert found.mark == "partial" and 0.2 < found.covered < 0.8
    assert found.longest.text.strip() in text and len(found.longest.text) > 0.8 * len(text)


@pytest.mark.parametrize("text", [
    "来年度の予算案は、委員会が全員の賛成により可決したものの、市長が署名を拒んだ。",
    "All councillors voted for the coming spending plans, though their city's head would not put her name to them until weeks later.",
])  # fmt: skip
def test_a_paraphrase_is_not_called_verbatim(planted, text):
    found = check_item(planted, asked(text))
    assert (found.mark, found.covered, found.longest) == ("clean", 0.0, None)


def test_a_text_that_goes_on_in_the_next_document_is_no_copy(planted):
    found = check_item(planted, asked(HALVES))
    assert found.covered == 1.0  # each half is one, of 20 characters
    assert found.longest.text == HALVES[:20]
    limits = Limits(n_characters=21)
    assert check_item(planted, asked(HALVES), limits).mark == "clean"
    assert check_item(planted, asked(HALVES[10:30])).mark == "clean"


def test_a_text_shorter_than_n_is_found_whole_or_not_at_all(planted):
    assert check_item(planted, asked(SHORT)).covered == 1.0
    assert check_item(planted, asked(SHORT.replace("魚", "肉"))).covered == 0.0
    assert check_item(planted, asked(SHORT), Limits(fewest=9)).mark == "dirty"


@pytest.mark.parametrize("text", ["富士山です", "a cat", "", "  "])
def test_a_text_that_stands_everywhere_is_not_judged(planted, text):
    found = check_item(planted, asked(text, "はい"))
    assert (found.mark, found.covered, found.longest, found.with_answer) == ("too_short", None, None, None)  # fmt: skip
    assert found.input.covered is None


@pytest.mark.parametrize("text, unit", [
    ("芥川龍之介", "characters"), ("東京都千代田区千代田", "characters"), ("NHKは何の略ですか", "characters"), ("ヴ𩸽", "characters"),
    ("What does 侘寂 mean in a tea room?", "tokens"), ("1 + 1 = 2", "tokens"), ("print('猫')", "tokens"),
])  # fmt: skip
def test_text_of_mostly_kana_and_han_characters_is_counted_in_characters(planted, text, unit):
    found = check_item(planted, asked(text)).input
    assert found.unit == unit
    if unit == "characters":
        assert found.units == len(text)


def test_question_and_answer_weigh_by_their_characters_and_the_short_one_not_at_all(planted):
    found = check_item(planted, asked(ENGLISH, "まったく別の話をここでしようと思う。"))
    assert (found.input.covered, found.output.covered) == (1.0, 0.0)
    assert found.output.unit == "characters"
    assert found.covered == len(ENGLISH) / (len(ENGLISH) + 18)
    assert check_item(planted, asked(ENGLISH, "はい")).covered == 1.0
    assert check_item(planted, asked("?", ENGLISH)).longest.part == "output"


def test_a_document_with_the_answer_is_told_from_one_with_the_question_alone(planted):
    question = "日本で一番高い山の名前を答えてください。"
    assert check_item(planted, asked(question, "富士山")).with_answer is True
    assert check_item(planted, asked(question, "高尾山")).with_answer is False
    assert check_item(planted, asked("日本で二番目に高い山の名前を答えてください。", "富士山")).with_answer is False  # fmt: skip
    assert check_item(planted, asked(question, "日本")).with_answer is None  # the question has it
    assert check_item(planted, asked(question, "富")).with_answer is None
    assert check_item(planted, asked("この国でいちばん高い山はなんという名前でしょうか。", "富士山")).with_answer is None  # fmt: skip


def test_only_training_splits_are_looked_into_unless_asked(planted):
    assert check_item(planted, asked(HELD_OUT)).mark == "clean"
    assert check_item(planted, asked(HELD_OUT), where=Where(splits=("validation",))).mark == "dirty"
    assert check_item(planted, asked(HELD_OUT), where=Where()).mark == "dirty"


def test_unknown_tokens_are_no_copy_of_one_another():
    vocabulary = SimpleNamespace(unk_id=0, offsets=lambda text: ([0] * 30, [(k, k + 1) for k in range(30)]))  # fmt: skip
    index = SimpleNamespace(vocabulary=vocabulary, contains_text=lambda *_: False, contains_tokens=lambda *_: True)  # fmt: skip
    assert check_item(index, asked("x" * 30)).covered == 0.0


def covered_by_looking_at_everything(units, documents, n):
    """The share of units in n-grams of one document: every n-gram is compared with every place."""
    inside = np.zeros(len(units), bool)
    for start in range(len(units) - n + 1):
        gram = units[start : start + n]
        if any(gram == document[k : k + n] for document in documents for k in range(len(document) - n + 1)):  # fmt: skip
            inside[start : start + n] = True
    return inside.mean()


@pytest.mark.parametrize("letters, unit", [("あいう", "characters"), ("abc", "tokens")])
def test_stretches_that_overlap_are_counted_once(letters, unit):
    choose, shares = random.Random(3), []
    vocabulary = SimpleNamespace(unk_id=None, offsets=lambda text: ([*map(ord, text)], [(k, k + 1) for k in range(len(text))]))  # fmt: skip
    for _ in range(200):
        texts = ["".join(choose.choices(letters, k=choose.randrange(1, 12))) for _ in range(6)]
        index = SimpleNamespace(
            vocabulary=vocabulary,
            contains_text=lambda text, _, texts=texts: any(text in one for one in texts),
            contains_tokens=lambda ids, _, texts=texts: any("".join(map(chr, ids)) in one for one in texts),
            find_text=lambda *_, **__: Results(counts=Counts(1, 1), by_store={}, hits=(), seconds=0),
            find_tokens=lambda *_, **__: Results(counts=Counts(1, 1), by_store={}, hits=(), seconds=0),
        )  # fmt: skip
        text, n = "".join(choose.choices(letters, k=choose.randrange(5, 25))), choose.randrange(2, 7)  # fmt: skip
        found = check_item(index, asked(text), Limits(n=n, n_characters=n, fewest=1))
        whole = any(text in one for one in texts)
        expected = 1.0 if whole else covered_by_looking_at_everything(text, texts, n)
        assert found.input.unit == unit and found.covered == pytest.approx(expected), (text, texts, n)  # fmt: skip
        shares.append(expected)
    assert 0 in shares and sum(0 < share < 1 for share in shares) > 60


def pieces_of(texts, choose):
    """A text made of pieces of others, with foreign characters here and there."""
    parts = []
    for _ in range(choose.randrange(1, 5)):
        text = choose.choice(texts)
        start = choose.randrange(max(1, len(text) - 5))
        parts.append(text[start : start + choose.randrange(3, 40)])
        parts.append(choose.choice(["", "", "猫", "x", " of ", "。"]))
    return "".join(parts).strip()


@pytest.mark.parametrize("subset, unit", [("ja", "characters"), ("en", "tokens")])
def test_covered_equals_that_of_looking_at_everything(small_index, small_corpora, subset, unit):
    texts, choose = small_corpora.texts[subset, "train"][:60], random.Random(5)
    vocabulary, where = small_index.vocabulary, Where((subset,), ("train",))
    every = [doc for doc in small_corpora.texts[subset, "train"]]
    corpus = every if unit == "characters" else [vocabulary.encode(text) for text in every]
    shares = []
    for _ in range(40):
        text, n = pieces_of(texts, choose), choose.choice([4, 6, 9, 13])
        question = asked(text)
        found = check_item(small_index, question, Limits(n=n, n_characters=n, fewest=2), where)
        if found.input.unit != unit or found.covered is None:
            continue
        units = text if unit == "characters" else vocabulary.encode(text)
        assert found.input.units == len(units)
        if any(text in document for document in every):
            expected = 1.0
        else:
            near = [document for document in corpus if _shares(units, document, n)]
            expected = covered_by_looking_at_everything(units, near, n)
        assert found.covered == pytest.approx(expected), (text, n)
        shares.append(expected)
    assert len(shares) > 30 and sum(0 < share < 1 for share in shares) > 10 and 0 in shares


def _shares(units, document, n):
    """Whether a document can hold an n-gram of the units at all."""
    return len(document) >= n and any(units[k : k + n] == document[j : j + n] for k in range(len(units) - n + 1) for j in range(len(document) - n + 1))  # fmt: skip


def test_several_threads_give_the_same_in_the_same_order(small_index, small_corpora):
    texts = small_corpora.texts["ja", "train"][:40] + small_corpora.texts["en", "train"][:40]
    questions = [Question(place, text, "", "") for place, text in enumerate(texts)]
    alone = [check_item(small_index, question) for question in questions]
    assert list(check(small_index, questions, threads=8)) == alone
    assert sum(one.mark == "dirty" for one in alone) > 50


@pytest.mark.parametrize("given, said", [
    ({"n": 0}, "n = 0 must be a whole number of at least 1"),
    ({"n_characters": 1.5}, "n_characters = 1.5 must be"),
    ({"fewest": -1}, "fewest = -1 must be"),
    ({"clean_below": 0.9}, "clean_below = 0.9 and dirty_from = 0.8"),
    ({"dirty_from": 80}, "must be shares above 0 and up to 1"),
    ({"clean_below": float("nan")}, "must be shares"),
])  # fmt: skip
def test_limits_out_of_range_are_refused_in_words(given, said):
    with pytest.raises(UserError, match=said):
        Limits(**given)


def test_what_cannot_be_looked_up_is_refused_before_anything_is_begun(planted):
    with pytest.raises(UserError, match="no split 'test'"):
        next(check(planted, [asked(JAPANESE)], where=Where(splits=("test",))))
    for name in ("threads", "documents"):
        with pytest.raises(UserError, match=f"{name} = 0 must be"):
            next(check(planted, [asked(JAPANESE)], **{name: 0}))


def test_a_share_at_a_bound_belongs_to_the_worse_side():
    marks = [Limits().mark(share) for share in (None, 0.0, 0.19, 0.2, 0.79, 0.8, 1.0)]
    assert marks == ["too_short", "clean", "clean", "partial", "partial", "dirty", "dirty"]
