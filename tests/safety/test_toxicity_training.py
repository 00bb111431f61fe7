import json

import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.safety import toxicity_training
from llmjp_jax.safety.toxicity_classifier import ToxicityClassifier
from llmjp_jax.safety.toxicity_data import LabelledText, class_names, read_toxicity, without_repeats
from llmjp_jax.safety.toxicity_training import train
from tests.safety.records import FLAGS, marked_texts, toxicity_record, write_lines


@pytest.fixture(autouse=True)
def few_buckets(monkeypatch):
    """Small and quick; the data set's own settings are tried in `tools/safety.py`'s test."""
    facts = toxicity_training.safety_facts("toxicity")
    small = facts["classifier"] | {"buckets": 1 << 14, "folds": 3, "penalties": [0.01, 1.0], "ngrams": [1, 2, 3]}  # fmt: skip
    monkeypatch.setattr(toxicity_training, "safety_facts", lambda name: facts | {"classifier": small})  # fmt: skip


def test_what_can_be_told_apart_is_told_apart():
    report = train(marked_texts(300)).report
    toxic = report["classes"]["toxic"]
    assert (toxic["precision"], toxic["recall"]) == (1.0, 1.0)
    assert report["counts"] == {
        "texts": 300, "repeated": 0, "train": 240, "test": 60,
        "left_out": ["discriminatory", "violent", "illegal", "personal", "corporate", "others"],
    }  # fmt: skip


def test_with_wrong_labels_precision_and_recall_come_near_what_is_possible():
    # 40 % toxic, 15 % of all labels flipped: by the marks alone precision 0.85 and recall .34 / (.34 + .09) = 0.79.
    trained = train(marked_texts(900, noise=0.15, length=45, seed=3))
    fresh = marked_texts(400, length=45, seed=4)
    toxic = trained.report["classes"]["toxic"]
    assert 0.74 <= toxic["precision"] <= 0.96
    assert 0.68 <= toxic["recall"] <= 0.92
    # Against the true labels of new texts it is much better than the labels that it learned from.
    flagged = trained.classifier.flagged(trained.classifier.probabilities([t.text for t in fresh]))[:, 0]  # fmt: skip
    right = np.mean(flagged == [t.label == "toxic" for t in fresh])
    assert right > 0.93


def test_few_toxic_texts_among_many_are_found():
    toxic = train(marked_texts(700, share=0.05, seed=1)).report["classes"]["toxic"]
    assert toxic["positive_test"] >= 5
    assert toxic["precision"] >= 0.85 and toxic["recall"] >= 0.85
    assert 0.02 < toxic["flagged"] < 0.08


def test_a_long_text_with_few_marks_is_found():
    texts = marked_texts(300, length=900, seed=2)
    assert np.mean([len(text.text) for text in texts]) > 850
    toxic = train(texts).report["classes"]["toxic"]
    assert toxic["precision"] >= 0.9 and toxic["recall"] >= 0.9


def test_a_flag_has_its_own_classifier():
    texts = marked_texts(240)
    # Here the flag says which of two marks a text has.
    texts = [
        LabelledText(text.text + ("ベヌス" if number % 2 else "") * 3, text.label, frozenset({"personal"} if number % 2 else ()))
        for number, text in enumerate(texts)
    ]  # fmt: skip
    trained = train(texts)
    assert trained.classifier.classes == ("toxic", "toxic_expression", "personal")
    assert trained.report["classes"]["personal"]["f1"] == 1.0
    p = trained.classifier.probabilities(["あいうベヌスベヌスベヌス", "あいうえおかき"])
    assert p[0, 2] > trained.classifier.thresholds[2] > p[1, 2]


def test_a_precision_that_is_asked_for_is_held_and_one_that_cannot_be_is_an_error():
    texts = marked_texts(600, noise=0.15, length=45, seed=3)
    careful = train(texts, precision=0.88)
    plain = train(texts)
    assert careful.classifier.thresholds[0] > plain.classifier.thresholds[0]
    assert careful.report["classes"]["toxic"]["precision"] >= 0.78
    assert careful.classifier.thresholds[1:] == plain.classifier.thresholds[1:]
    random_labels = [LabelledText(t.text, "toxic" if i % 3 == 0 else "nontoxic", t.flags & set()) for i, t in enumerate(marked_texts(120))]  # fmt: skip
    with pytest.raises(UserError, match="no threshold has a precision of 0.99"):
        train(random_labels, precision=0.99)


def test_the_same_seed_gives_the_same_classifier_and_another_one_another_split():
    texts = marked_texts(150)
    one, same, other = (train(texts, seed=seed) for seed in (0, 0, 1))
    assert one.classifier.fingerprint == same.classifier.fingerprint
    assert one.report == same.report
    assert one.classifier.fingerprint != other.classifier.fingerprint


def test_the_split_has_the_same_share_of_every_label():
    texts = [LabelledText(str(n), label, frozenset({"violent"} if n % 10 == 0 else ()))
             for n, label in enumerate(["toxic"] * 100 + ["nontoxic"] * 250 + ["has_toxic_expression"] * 50)]  # fmt: skip
    test, rest = toxicity_training._split(texts, 0.2, seed=5)
    assert not {t.text for t in test} & {t.text for t in rest}
    assert len(test) + len(rest) == 400
    for label, count in (("toxic", 20), ("nontoxic", 50), ("has_toxic_expression", 10)):
        assert abs(sum(text.label == label for text in test) - count) <= 1
    assert abs(sum("violent" in text.flags for text in test) - 8) <= 3


def test_copies_of_a_text_do_not_stand_on_both_sides():
    texts = marked_texts(150)
    report = train([*texts, *texts[:40]]).report
    assert report["counts"]["repeated"] == 40
    assert report == train(texts).report | {"counts": report["counts"]}
    assert without_repeats([*texts, *texts[:40]]) == texts


def test_too_few_toxic_texts_are_an_error():
    with pytest.raises(UserError, match="are toxic; there must be 10 or more"):
        train(marked_texts(60, share=0.0))


def test_an_empty_text_has_the_probability_of_the_bias_and_very_long_ones_are_read():
    classifier = train(marked_texts(150)).classifier
    p = classifier.probabilities(["", "   ", "あ" * 2_000_000, "\ud800", "😀" * 500])
    assert np.isfinite(p).all()
    assert p[0, 0] == p[1, 0] == pytest.approx(1 / (1 + np.exp(-classifier.bias[0])))


def test_a_saved_classifier_gives_the_same_probabilities(tmp_path):
    classifier = train(marked_texts(150)).classifier
    classifier.save(tmp_path)
    again = ToxicityClassifier.load(tmp_path)
    texts = [text.text for text in marked_texts(20, seed=9)]
    assert np.array_equal(classifier.probabilities(texts), again.probabilities(texts))
    assert again.fingerprint == classifier.fingerprint
    assert again.with_threshold(0.5).thresholds[0] == 0.5
    assert again.with_threshold(0.5).fingerprint != again.fingerprint
    with pytest.raises(UserError, match="between 0 and 1"):
        again.with_threshold(1.0)


def test_a_directory_that_is_not_whole_is_found_out(tmp_path):
    classifier = train(marked_texts(150)).classifier
    with pytest.raises(UserError, match="holds no toxicity classifier"):
        ToxicityClassifier.load(tmp_path)
    classifier.save(tmp_path)
    weights = tmp_path / "classifier.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"abcd")
    with pytest.raises(UserError, match="is not the one"):
        ToxicityClassifier.load(tmp_path)
    (tmp_path / "classifier.json").write_text('{"format"')
    with pytest.raises(UserError, match="not JSON"):
        ToxicityClassifier.load(tmp_path)


def test_the_published_form_is_read(tmp_path):
    record = {"text": "文", "label": "has_toxic_expression"} | dict.fromkeys(FLAGS, "no") | {"obscene": "yes"}  # fmt: skip
    path = write_lines(tmp_path / "toxicity_dataset.jsonl", [record, toxicity_record(LabelledText("別", "nontoxic", frozenset()))])  # fmt: skip
    first, second = read_toxicity(path)
    assert first == LabelledText("文", "has_toxic_expression", frozenset({"obscene"}))
    assert first.classes == {"toxic_expression", "obscene"}
    assert second.classes == set()
    assert LabelledText("", "toxic", frozenset()).classes == {"toxic", "toxic_expression"}
    assert class_names() == ("toxic", "toxic_expression", *FLAGS)


@pytest.mark.parametrize(("change", "said"), [
    ({"label": "bad"}, "label = 'bad' is none of toxic, nontoxic"), ({"violent": "maybe"}, "violent = 'maybe' must be 'yes' or 'no'"),
    ({"text": None}, "no string 'text'"), ({"others": None}, "others = None"),
])  # fmt: skip
def test_a_record_of_another_form_is_named(tmp_path, change, said):
    good = toxicity_record(LabelledText("文", "nontoxic", frozenset()))
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(good) + "\n" + json.dumps(good | change) + "\n")
    with pytest.raises(UserError, match="line 2") as error:
        read_toxicity(path)
    assert said in str(error.value)


def test_a_missing_data_set_says_how_to_get_it(tmp_path):
    with pytest.raises(UserError, match="tools/download.py toxicity"):
        read_toxicity(tmp_path / "toxicity_dataset.jsonl")
