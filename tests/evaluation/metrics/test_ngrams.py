"""BLEU, chrF and ROUGE, against their formulas counted out."""

import collections
import math
import random

import pytest

from llmjp_jax.evaluation.metrics import COMPAT, MetricUnavailable, ReferenceStops, score
from llmjp_jax.evaluation.metrics import words as words_file
from llmjp_jax.evaluation.metrics.ngrams import reference_bleu, rouge
from llmjp_jax.evaluation.metrics.words import words_of_pair

ENGLISH = "the cat sat on a mat and the dog ate it".split()
JAPANESE = ["猫", "が", "鳴く", "犬", "は", "走る", "東京", "で"]


def sentences(seed: int, vocabulary: list[str], count: int, space: str = " "):
    choice = random.Random(seed)
    for _ in range(count):
        gold = choice.choices(vocabulary, k=choice.randrange(1, 12))
        prediction = [choice.choice(vocabulary) if choice.random() < 0.3 else word for word in gold]
        yield space.join(prediction[: choice.randrange(1, 13)]), space.join(gold)


def grams(words: list[str], order: int) -> collections.Counter:
    return collections.Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))


def bleu_by_hand(pairs: list[tuple[list[str], list[str]]]) -> float:
    """Papineni's BLEU-4 of a corpus without smoothing."""
    logs = 0.0
    for order in (1, 2, 3, 4):
        same = total = 0
        for prediction, gold in pairs:
            found, wanted = grams(prediction, order), grams(gold, order)
            same += sum(min(count, wanted[gram]) for gram, count in found.items())
            total += sum(found.values())
        logs += math.log(same / total) / 4
    written, wanted = (sum(len(pair[side]) for pair in pairs) for side in (0, 1))
    return 100 * math.exp(logs) * min(1.0, math.exp(1 - wanted / written))


def test_bleu_en_is_corpus_bleu_over_words():
    pairs = list(sentences(0, ENGLISH, 40))
    found = score("bleu_en", [p for p, _ in pairs], [g for _, g in pairs])
    assert found.value == pytest.approx(bleu_by_hand([(p.split(), g.split()) for p, g in pairs]))
    assert found.items is None


def test_bleu_ja_is_corpus_bleu_over_mecabs_words():
    gold = "外国人参政権について議論する。"
    words = ["外国", "人参", "政権", "について", "議論", "する", "。"]
    prediction = "外国人参政権について議論した。"
    changed = ["外国", "人参", "政権", "について", "議論", "し", "た", "。"]
    assert score("bleu_ja", [prediction], [gold]).value == pytest.approx(bleu_by_hand([(changed, words)]))  # fmt: skip


@pytest.mark.parametrize("metric", ["bleu_en", "bleu_ja", "chrf"])
def test_equal_texts_score_100_and_an_empty_answer_lowers_the_score_without_stopping(metric):
    golds = ["the cat sat on the mat today", "猫が庭で静かに鳴いている。"]
    assert score(metric, golds, golds).value == pytest.approx(100.0, abs=1e-9)
    assert score(metric, golds, golds).value <= 100.0
    assert 0 < score(metric, [golds[0], ""], golds).value < 100
    assert score(metric, ["", ""], golds).value == 0.0


def test_a_nul_hides_nothing_behind_it():
    gold = "猫が庭で静かに鳴いている。"
    assert score("bleu_ja", ["\0" + gold], [gold]).value == pytest.approx(100.0)
    assert rouge(2)("\0" + gold, gold) == 1.0


def test_the_references_bleu_compares_characters_place_by_place():
    choice = random.Random(0)
    for _ in range(300):
        prediction, gold = ("".join(choice.choices("あいab \n", k=choice.randrange(1, 9))) for _ in "pg")  # fmt: skip
        length = min(len(prediction), len(gold))
        written = [c for c in prediction[:length] if c not in " \n"]
        wanted = [c for c in gold[:length] if c not in " \n"]
        same = sum(prediction[i] == gold[i] and prediction[i] not in " \n" for i in range(length))
        expected = 0.0
        if same:
            expected = 100 * same / len(written) * min(1, math.exp(1 - len(wanted) / len(written)))
        assert reference_bleu(prediction, gold) == pytest.approx(expected, abs=1e-9)


def test_the_references_bleu_stops_the_run_at_an_empty_text():
    for predictions, golds in ((["a", ""], ["a", "b"]), (["a", "b"], ["a", ""])):
        with pytest.raises(ReferenceStops, match="IndexError") as caught:
            score("bleu_en", predictions, golds, compat=COMPAT)
        assert caught.value.error == "IndexError" and isinstance(caught.value, MetricUnavailable)


def test_chrf_is_the_f2_of_characters_counted_out():
    prediction, gold = "the cat sat", "the cat sits on it"
    values = []
    for order in range(1, 7):
        found, wanted = (grams(list(text.replace(" ", "")), order) for text in (prediction, gold))
        same = sum((found & wanted).values())
        values.append((same / sum(found.values()), same / sum(wanted.values())))
    precision, recall = (sum(side) / 6 for side in zip(*values, strict=True))
    assert score("chrf", [prediction], [gold]).value == pytest.approx(100 * 5 * precision * recall / (4 * precision + recall))  # fmt: skip


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(("vocabulary", "space"), [(ENGLISH, " "), (JAPANESE, "、")])
def test_rouge_is_the_f1_of_word_runs(order, vocabulary, space):
    for prediction, gold in sentences(5, vocabulary, 60, space):
        found, wanted = (grams(text.split(space), order) for text in (prediction, gold))
        same = sum(min(count, wanted[gram]) for gram, count in found.items())
        precision = same / max(1, sum(found.values()))
        recall = same / max(1, sum(wanted.values()))
        expected = 2 * precision * recall / (precision + recall) if same else 0.0
        assert rouge(order)(prediction, gold) == pytest.approx(expected, abs=1e-12), (prediction, gold)  # fmt: skip


def test_both_texts_of_a_pair_are_cut_by_the_same_rule():
    assert words_of_pair("The cat's mat, 3,000!", "MAT") == (["the", "cat", "s", "mat", "3", "000"], ["mat"])  # fmt: skip
    assert words_of_pair("猫が鳴く。", "") == (["猫", "が", "鳴く"], [])
    # "don't" is cut alike in both, whichever of them holds Japanese.
    left, right = words_of_pair("don't", "don'tは")
    assert right[: len(left)] == left


def test_japanese_without_mecab_says_what_to_install(monkeypatch):
    import sacrebleu.tokenizers.tokenizer_ja_mecab as module

    words_file.japanese_tokenizer.cache_clear()
    monkeypatch.setattr(module, "MeCab", None)
    for metric in ("bleu_ja", "rouge2"):
        with pytest.raises(MetricUnavailable, match=r"pip install 'sacrebleu\[ja\]'"):
            score(metric, ["猫"], ["犬"])
