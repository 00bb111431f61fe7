import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.safety.toxicity_features import Ngrams

NGRAMS = Ngrams((1, 2, 3), 1 << 20, 1000)


def test_counts_are_those_of_the_n_grams_one_by_one():
    _, counts = NGRAMS.counts("あいあいう")
    # 1: あ2 い2 う1; 2: あい2 いあ1 いう1; 3: あいあ1 いあい1 あいう1
    assert sorted(counts) == [1, 1, 1, 1, 1, 1, 2, 2, 2]


def test_the_same_text_has_the_same_buckets_in_every_process():
    # Counted once; a change of the hash makes classifiers that were saved before worthless.
    buckets, counts = Ngrams((1, 2), 1 << 16, 100).counts("安全")
    assert dict(zip(buckets.tolist(), counts.tolist(), strict=True)) == {
        11686: 1,
        29564: 1,
        55410: 1,
    }


@pytest.mark.parametrize(("one", "other"), [
    ("ＡＢＣ", "abc"), ("ｶﾞｷﾞ", "ガギ"), ("a  \n\t b", "a b"), (" a b ", "a b"), ("が", "か\u3099"), ("ẞ", "ss"),
])  # fmt: skip
def test_forms_of_one_text_are_one(one, other):
    assert np.array_equal(NGRAMS.counts(one)[0], NGRAMS.counts(other)[0])


def test_other_scripts_emoji_and_lone_surrogates_are_characters():
    for text in ("😀👍🏽", "𠮷野家", "\ud83d", "مرحبا", "\x00"):
        assert len(NGRAMS.counts(text)[0]) > 0
    assert not np.array_equal(NGRAMS.counts("𠮷")[0], NGRAMS.counts("吉")[0])


@pytest.mark.parametrize("text", ["", "   ", "\n\n", "\u3000"])
def test_an_empty_text_has_no_n_grams(text):
    assert len(NGRAMS.counts(text)[0]) == 0
    assert NGRAMS.matrix([text, "あ"]).sum(1)[0, 0] == 0


def test_a_text_shorter_than_an_n_gram_has_only_the_shorter_ones():
    assert len(NGRAMS.counts("あ")[0]) == 1


def test_sizes_have_buckets_of_their_own():
    both = Ngrams((1, 2), 1 << 20, 100).counts("ああ")[0]
    assert len(both) == 2


def test_rows_have_length_one_and_rare_n_grams_weigh_more():
    texts = ["あいう", "あえお", "あえお"]
    rarity = NGRAMS.rarity(texts)
    rows = NGRAMS.matrix(texts, rarity)
    assert np.allclose(np.sqrt(rows.multiply(rows).sum(1)), 1)
    everywhere, twice, once = (NGRAMS.counts(letter)[0][0] for letter in "あえい")
    assert rarity[everywhere] < rarity[twice]
    assert rarity[once] == 0  # nothing can be learned from what one text has


def test_the_rest_of_a_very_long_text_is_not_looked_at():
    short = Ngrams((1,), 1 << 20, 10)
    assert len(short.counts("あ" * 10 + "い")[0]) == 1


@pytest.mark.parametrize(
    "given", [((), 8, 1), ((0,), 8, 1), ((17,), 8, 1), ((1,), 6, 1), ((1,), 8, 0)]
)
def test_settings_out_of_range_are_errors(given):
    with pytest.raises(UserError):
        Ngrams(*given)
