import random
import unicodedata

import numpy as np
import pytest

from llmjp_jax.corpus.dedup.near_search import bitsets, find_pairs
from llmjp_jax.corpus.dedup.simhash import (
    MATCHING_BITS,
    code_units,
    edits_agree,
    is_long_pair,
    lengths_agree,
    levenshtein,
    long_bitset,
    long_bitsets_agree,
    matching_bits,
    near_duplicates,
    ones,
    short_bitset,
    short_overlap_agrees,
    signature,
    texts_agree,
)

from .conftest import edited, sentence

# Uzushio's own examples (CandidateRowProcessorSpec.scala): each set is one group.
SERIES = [
    "docomo STYLE series N-01C",
    "docomo STYLE series SH-03E",
    "4位docomo STYLE series N-01E",
    "5位docomo STYLE series N-03D",
]
PHONES = [
    "らくらくホン ベーシック3 [ゴールド]",
    "らくらくホン ベーシック3 [ネイビー]",
    "らくらくホン ベーシック3 [ピンク]",
    "> らくらくホン ベーシック3 [ホワイト]",
    "らくらくホン ベーシック3 [ホワイト]",
]


def overlap(first, second):
    a, b = code_units(first), code_units(second)
    bigrams = len(a) > 16 and len(b) > 16
    return short_overlap_agrees(short_bitset(a), short_bitset(b), bigrams)


def edits(first, second):
    return edits_agree(code_units(first), code_units(second))


def long(first, second):
    return long_bitsets_agree(long_bitset(code_units(first)), long_bitset(code_units(second)))


def agree(first, second):
    return texts_agree(code_units(first), code_units(second))


def test_unlike_texts_share_half_of_their_bits_and_like_ones_most():
    choice = random.Random(0)
    bases = [sentence(choice, 150) for _ in range(60)]
    unlike = [
        matching_bits(signature(a), signature(b)) for a, b in zip(bases, bases[1:], strict=False)
    ]
    like = [matching_bits(signature(a), signature(edited(a, choice, 5))) for a in bases]
    assert np.mean(unlike) == pytest.approx(64, abs=4)
    assert min(like) >= MATCHING_BITS
    assert all(matching_bits(signature(a), signature(a)) == 128 for a in bases)


def test_the_share_of_equal_bits_follows_the_angle_between_ngram_counts():
    """Charikar 2002: bits agree with probability 1 - angle / pi."""
    choice = random.Random(1)
    agreed, expected = [], []
    for _ in range(40):
        a = sentence(choice, 120)
        b = edited(a, choice, 12)
        grams = [
            {
                gram: sum(text[i : i + n] == gram for i in range(len(text)))
                for n in (2, 3, 4)
                for gram in {text[i : i + n] for i in range(len(text) - n + 1)}
            }
            for text in (a, b)
        ]
        names = sorted(set(grams[0]) | set(grams[1]))
        u, v = (np.array([gram.get(name, 0) for name in names], float) for gram in grams)
        cosine = u @ v / np.sqrt((u @ u) * (v @ v))
        expected.append(1 - np.arccos(cosine) / np.pi)
        agreed.append(matching_bits(signature(a), signature(b)) / 128)
    # 40 * 128 trials: one standard error is 0.006.
    assert np.mean(agreed) == pytest.approx(np.mean(expected), abs=0.02)


def test_ngrams_do_not_reach_over_a_newline():
    assert (signature("あ\nい\nう") == 0).all()
    assert (signature("あいう\nえおか") == signature("えおか\nあいう")).all()
    assert not (signature("あいうえおか") == signature("えおかあいう")).all()


def test_more_than_255_ngrams_are_counted_right():
    """Counters of a byte are emptied in time: a text a thousand times over has its own signature."""
    text = "いろはにほへと\n"
    assert (signature(text * 1000) == signature(text)).all()


def test_uzushios_examples_are_near():
    for group in (SERIES, PHONES):
        for first in group:
            partners = [other for other in group if other != first]
            assert any(near_duplicates(first, other) for other in partners), first


def test_signatures_that_share_fewer_bits_end_the_comparison(monkeypatch):
    import llmjp_jax.corpus.dedup.simhash as rule

    first, second = SERIES[0], SERIES[1]
    shared = matching_bits(signature(first), signature(second))
    assert shared < 128
    assert near_duplicates(first, second)
    monkeypatch.setattr(rule, "MATCHING_BITS", shared + 1)
    assert not near_duplicates(first, second)
    assert MATCHING_BITS == 76


def test_lengths_may_differ_by_fifty():
    assert lengths_agree(100, 150)
    assert not lengths_agree(100, 151)
    # A text twice over has the same n-grams but where it meets itself.
    text = sentence(random.Random(2), 51)
    assert not near_duplicates(text, text * 2)
    assert agree(text + text[:-1], (text + text[:-1]) * 2)


def test_a_mean_length_above_thirty_makes_a_pair_long():
    assert not is_long_pair(30, 31)
    assert is_long_pair(31, 31)
    assert is_long_pair(6, 56)


def test_long_texts_are_near_from_a_jaccard_coefficient_of_seven_tenths_on():
    for common, own in ((70, 15), (69, 16), (70, 16), (7, 1), (7, 2), (7, 3)):
        first, second = np.zeros(128, np.uint64), np.zeros(128, np.uint64)
        for bit in range(common + 2 * own):
            word, value = bit % 128, np.uint64(1) << np.uint64(bit // 128)
            if bit < common + own:
                first[word] |= value
            if bit < common or bit >= common + own:
                second[word] |= value
        expected = 10 * common >= 7 * (common + 2 * own)
        assert long_bitsets_agree(first, second) == expected, (common, own)
    assert not long_bitsets_agree(np.zeros(128, np.uint64), np.zeros(128, np.uint64))


def test_long_bitsets_hold_the_three_and_four_grams():
    text = sentence(random.Random(3), 300)
    grams = {text[i : i + n] for n in (3, 4) for i in range(len(text) - n + 1)}
    # Of 8192 bits a few are hit twice.
    assert 0.95 * len(grams) < ones(long_bitset(code_units(text))) <= len(grams)
    assert ones(long_bitset(code_units("あい\nうえ"))) == 0


def test_the_check_of_long_texts_refuses_what_signature_and_length_let_pass():
    """The only thing that holds these apart is the n-gram check."""
    first = sentence(random.Random(4), 80)
    second = edited(first, random.Random(5), 12)
    assert matching_bits(signature(first), signature(second)) >= MATCHING_BITS
    assert is_long_pair(len(first), len(second))
    assert not long(first, second)
    assert not near_duplicates(first, second)
    assert near_duplicates(first, edited(first, random.Random(6), 3))


def test_the_overlap_of_short_texts_refuses_what_edits_let_pass():
    """Each of the two halves of the check of short texts refuses what the other lets pass."""
    first, second = "abcdefghijklmnopqrst", "aBcdeFghiJklmNopqRst"
    assert edits(first, second)
    assert not overlap(first, second)
    assert not agree(first, second)


def test_edits_of_short_texts_refuse_what_the_overlap_lets_pass():
    first, second = "東京都の天気", "天気の東京都"
    assert overlap(first, second)
    assert not edits(first, second)
    assert not agree(first, second)
    assert agree("東京都の天気は晴れ", "東京都の天気は曇り") == edits(
        "東京都の天気は晴れ", "東京都の天気は曇り"
    )


def test_the_overlap_of_short_texts_is_their_jaccard_coefficient_from_six_tenths_on():
    assert overlap("abc", "abcde")  # 3 of 5
    assert not overlap("abc", "abcdef")  # 3 of 6
    assert overlap("abcdefghijklmnop", "ponmlkjihgfedcba")  # 16: no bigrams, the same unigrams
    assert not overlap("abcdefghijklmnopq", "qponmlkjihgfedcba")  # 17: no bigram in common
    assert overlap(
        "abcdefghijklmnop", "qponmlkjihgfedcba"
    )  # bigrams count only where both have them
    assert not overlap("", "")


def test_edits_are_fewer_than_three_tenths_of_the_mean_length_rounded_down():
    assert edits("abcdefghij", "abcdefghXY")  # 2 of 10
    assert not edits("abcdefghij", "abcdefgXYZ")  # 3 of 10
    assert not edits("abc", "abX")  # 1 of 3
    assert edits("abcd", "abXd") and not edits("abcd", "abX")  # 1 of 4; 2 of 3
    assert not edits("", "")


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        ("kitten", "sitting", 3),
        ("", "abc", 3),
        ("abc", "", 3),
        ("flaw", "lawn", 2),
        ("あい", "いあ", 2),
    ],
)
def test_edit_distances(first, second, distance):
    assert levenshtein(code_units(first), code_units(second)) == distance
    assert levenshtein(code_units(second), code_units(first)) == distance


def test_edit_distances_are_those_of_the_plain_recursion():
    choice = random.Random(7)

    def plain(a, b):
        row = list(range(len(b) + 1))
        for i, x in enumerate(a, 1):
            above, row = row, [i]
            for j, y in enumerate(b, 1):
                row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
        return row[-1]

    for _ in range(100):
        a, b = ("".join(choice.choices("abc", k=choice.randrange(12))) for _ in range(2))
        assert levenshtein(code_units(a), code_units(b)) == plain(a, b)


def test_lengths_are_javas():
    assert len(code_units("𠮷")) == 2
    assert len(code_units(unicodedata.normalize("NFC", "が"))) == 1


def test_the_search_connects_what_the_rule_connects():
    """Over all pairs in the window, the groups are those of the rule applied pair by pair."""
    choice = random.Random(8)
    texts = []
    for length in (4, 9, 15, 17, 25, 33, 60, 200):
        for _ in range(6):
            base = sentence(choice, length)
            texts += [edited(base, choice, choice.randrange(0, 1 + length // 6)) for _ in range(4)]
    choice.shuffle(texts)
    units = [code_units(text) for text in texts]
    starts = np.concatenate([[0], np.cumsum([len(text) for text in units])])
    together = np.concatenate(units)
    found = find_pairs(
        np.array([signature(text) for text in texts]), together, starts,
        *bitsets(together, starts), np.zeros(len(texts), np.int64), 0,
    )  # fmt: skip
    pairs = [
        (i, j) for i in range(len(texts)) for j in range(i) if near_duplicates(texts[i], texts[j])
    ]
    assert len(pairs) > 100
    assert {tuple(pair) for pair in found.tolist()} <= set(pairs)
    assert components(found.tolist(), len(texts)) == components(pairs, len(texts))


def components(pairs, nodes):
    parents = list(range(nodes))

    def root(node):
        while parents[node] != node:
            node = parents[node]
        return node

    for a, b in pairs:
        low, high = sorted((root(a), root(b)))
        parents[high] = low
    return [root(node) for node in range(nodes)]
