"""Perplexity under a small ARPA model that is written here."""

import math
import sys

import pytest

pytest.importorskip("kenlm")
pytest.importorskip("sudachipy")

from llmjp_jax.corpus.filters import perplexity
from llmjp_jax.corpus.filters.paragraphs import document_text
from llmjp_jax.corpus.filters.perplexity import (
    kenlm_doc_avg_perplexity,
    kenlm_paragraph_perplexity,
    score,
)
from llmjp_jax.errors import UserError

# log10 probabilities; 犬 after 鳥 is likelier than 犬.
WORDS = {"<unk>": -8.0, "</s>": -1.0, "猫": -2.0, "犬": -3.0, "鳥": -4.0, "。": -1.0, "魚": -6.5}
BIGRAM = ("鳥 犬", -0.5)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("kenlm") / "tiny.arpa"
    unigrams = "".join(f"{log}\t{word}\t0\n" for word, log in WORDS.items())
    path.write_text(
        f"\\data\\\nngram 1={len(WORDS) + 1}\nngram 2=1\n\n\\1-grams:\n-99\t<s>\t0\n{unigrams}\n"
        f"\\2-grams:\n{BIGRAM[1]}\t{BIGRAM[0]}\n\n\\end\\\n",
        encoding="utf-8",
    )
    return str(path)


def document(*texts: str) -> dict:
    return {"text": "", "meta": {}, "paragraphs": [{"path": "p", "text": text} for text in texts]}


def test_a_score_is_the_mean_over_words_and_the_end(model):
    assert score("猫鳥", model, 0.01) == pytest.approx((-2 - 4 - 1) / 3)
    assert score("鳥犬", model, 0.01) == pytest.approx((-4 - 0.5 - 1) / 3)
    assert score("犬鳥", model, 0.01) == pytest.approx((-3 - 4 - 1) / 3)
    assert score("猫 \n鳥", model, 0.01) == score("猫鳥", model, 0.01)  # blanks are no words
    assert score("", model, 0.1) == pytest.approx(-1.0)


def test_without_outliers_the_end_does_not_count_as_a_word(model):
    assert score("猫鳥", model, 0.0) == pytest.approx((-2 - 4 - 1) / 2)
    assert score("", model, 0.0) == -math.inf


def test_the_least_probable_share_of_the_words_is_left_out(model):
    text = "猫。" * 4 + "魚。"  # ten words
    logs = [-2.0, -1.0] * 4 + [-6.5, -1.0]
    assert score(text, model, 0.09) == pytest.approx((sum(logs) - 1) / 11)  # int(0.9) = 0
    assert score(text, model, 0.1) == pytest.approx((sum(logs) + 6.5 - 1) / 10)
    assert score(text, model, 0.2) == pytest.approx((sum(logs) + 6.5 + 2 - 1) / 9)


def test_a_text_longer_than_sudachi_takes_is_scored_up_to_64_kib_of_words(model):
    # A word is three bytes and a space: 16,384 of them fill the buffer.
    long = ("猫。" * 40 + "\n") * 300
    assert len(long.encode()) > 49_149
    words = 64 * 1024 // 4
    outliers = int(0.01 * words)
    total = -2 * (words / 2 - outliers) - words / 2 - 1
    assert score(long, model, 0.01) == pytest.approx(total / (words + 1 - outliers))


@pytest.mark.parametrize(
    ("count", "threshold", "left"), [(3, 1e6, "猫\n鳥鳥鳥鳥鳥鳥鳥鳥鳥\n猫"), (3, 5e6, None)]
)
def test_a_run_of_improbable_paragraphs_is_removed(model, count, threshold, left):
    # 魚 alone scores (-6.5 * 90 - 1) / 91: a perplexity of 2.7 million.
    texts = ["猫", "魚" * 90, "魚" * 90, "魚" * 90, "鳥" * 9, "猫"]
    one = kenlm_paragraph_perplexity(
        document(*texts), model=model, count=count, threshold=threshold, outliers=0.01
    )
    assert document_text(one) == (left or "\n".join(texts))
    removed = {paragraph.get("removed") for paragraph in one["paragraphs"]}
    assert removed == ({None, "kenlm_paragraph_perplexity"} if left else {None})


def test_two_in_a_row_are_no_run_of_three(model):
    texts = ["猫", "魚" * 90, "魚" * 90, "猫"]
    options = {"model": model, "threshold": 1e6, "outliers": 0.01}
    assert document_text(
        kenlm_paragraph_perplexity(document(*texts), count=3, **options)
    ) == "\n".join(texts)
    assert (
        document_text(kenlm_paragraph_perplexity(document(*texts), count=2, **options)) == "猫\n猫"
    )


def test_the_mean_of_a_document_is_weighted_by_characters_and_both_limits_are_kept(model):
    one = document("猫猫", "鳥", "魚")
    one["paragraphs"][2]["removed"] = "x"
    mean = (10 ** ((2 + 2 + 1) / 3) * 2 + 10 ** ((4 + 1) / 2) * 1) / 3
    options = {"model": model, "outliers": 0.01}
    assert kenlm_doc_avg_perplexity(one, low=mean * 0.9999, high=mean * 1.0001, **options)
    assert not kenlm_doc_avg_perplexity(one, low=mean * 1.0001, high=1e6, **options)
    assert not kenlm_doc_avg_perplexity(one, low=0, high=mean * 0.9999, **options)
    assert kenlm_doc_avg_perplexity(document(), low=5, high=6, **options)


def test_without_a_model_a_step_is_an_error_unless_it_is_told_to_let_all_pass():
    one = document("魚")
    for step in (kenlm_paragraph_perplexity, kenlm_doc_avg_perplexity):
        with pytest.raises(UserError, match="without_model='leave_out'"):
            step(one)
        with pytest.raises(UserError, match="without_model is 'skip'"):
            step(one, without_model="skip")
    assert kenlm_paragraph_perplexity(one, without_model="leave_out") is one
    assert kenlm_doc_avg_perplexity(one, low=1e9, high=1e9, without_model="leave_out")
    step = perplexity.STEPS[0]
    told = perplexity.prepare(step, {"without_model": "leave_out", "count": 3})
    assert told.startswith(f"{step} lets every document pass: no KenLM model")
    with pytest.raises(UserError, match="without_model='leave_out'"):
        perplexity.prepare(step, {"count": 3})
    with pytest.raises(UserError, match=r"there is no KenLM model a\.bin"):
        perplexity.prepare(step, {"model": "a.bin", "without_model": "leave_out"})


def test_a_model_beside_leave_out_is_used(model):
    assert not kenlm_doc_avg_perplexity(
        document("魚"), high=5, model=model, without_model="leave_out"
    )


def test_a_model_that_is_missing_or_no_model_is_an_error(tmp_path):
    broken = tmp_path / "broken.bin"
    broken.write_text("no model\n")
    for path in (tmp_path / "none.bin", broken):
        with pytest.raises(UserError, match=path.name):
            kenlm_doc_avg_perplexity(document("魚"), model=str(path))


def test_a_missing_package_is_named(monkeypatch, model):
    perplexity._load.cache_clear()
    perplexity._score.cache_clear()
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[kenlm\]'"):
        kenlm_doc_avg_perplexity(document("魚"), model=model)
