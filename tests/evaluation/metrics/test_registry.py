"""Metrics by name, and what scoring refuses."""

import subprocess
import sys
import types

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.metrics import (
    COMPAT,
    METRICS,
    MetricUnavailable,
    find_metric,
    score,
)

# Of the task files of llm-jp-eval 1.3.
OF_1_3 = ("exact_match", "char_f1", "set_f1", "pearson", "spearman", "bleu_en", "bleu_ja",
          "bert_score_en_f1", "bert_score_ja_f1", "comet_wmt22")  # fmt: skip


def test_every_metric_of_llm_jp_eval_1_3_is_there_under_its_name():
    for name in (*OF_1_3, "rouge2", "chrf", "mathematical_equivalence", "code_exec"):
        assert find_metric(name).name == name


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("exact_mach", "exact_match"), ("rouge2_ja", "rouge2"), ("bleu", "bleu_"), ("comet", "comet_wmt22")],
)  # fmt: skip
def test_an_unknown_metric_names_the_nearest(name, nearest):
    with pytest.raises(UserError, match=f"there is no metric '{name}'.*did you mean '{nearest}"):
        score(name, ["a"], ["a"])


def test_a_metric_that_differs_from_the_reference_says_how_in_one_sentence():
    for metric in METRICS.values():
        assert bool(metric.note) == (metric.reference is not None)
        if metric.note:
            assert "llm-jp-eval 1.3" in metric.note and metric.note.endswith(".")
    with pytest.raises(UserError, match="note"):
        type(find_metric("chrf"))(name="x", description="", sound=find_metric("chrf").sound, note="it differs")  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"predictions": ["a"], "golds": ["a", "b"]}, "1 predictions with 2 gold"),
        ({"predictions": [], "golds": []}, "one at least"),
        ({"predictions": ["a"], "golds": ["a"], "compat": "1.3"}, "compat = '1.3'"),
    ],
)
def test_what_cannot_be_scored_is_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        score("exact_match", **arguments)


def test_comet_needs_what_was_asked():
    with pytest.raises(UserError, match="one input a sample"):
        score("comet_wmt22", ["a"], ["a"])


def test_a_learned_metric_that_is_not_installed_says_so(monkeypatch):
    from llmjp_jax.evaluation.metrics import learned

    monkeypatch.setattr(learned, "available", lambda name: False)
    for metric, package in (("comet_wmt22", "unbabel-comet"), ("bert_score_ja_f1", "bert-score")):
        with pytest.raises(MetricUnavailable, match=package):
            score(metric, ["猫"], ["犬"], inputs=["cat"])


def test_learned_metrics_get_texts_in_their_order(monkeypatch):
    from llmjp_jax.evaluation.metrics import learned

    monkeypatch.setattr(
        learned, "comet", lambda sources, predictions, golds: (len(sources[0]), len(golds[0]))
    )
    monkeypatch.setattr(
        learned, "bert_score", lambda predictions, golds, language: (float(language == "ja"),) * 2
    )
    assert score("comet_wmt22", ["p", "p"], ["gold", "g"], inputs=["so", "s"]).items == (2, 4)
    assert score("bert_score_ja_f1", ["p", "p"], ["g", "g"]).value == 1.0
    assert score("bert_score_en_f1", ["p", "p"], ["g", "g"]).value == 0.0


def test_code_is_run_only_where_the_caller_allows_it(monkeypatch):
    ran = []

    def run_many(pairs):
        ran.extend(pairs)
        return [types.SimpleNamespace(passed=code == "good") for code, _ in ran]

    monkeypatch.setattr("llmjp_jax.evaluation.sandbox.run_many", run_many)
    with pytest.raises(MetricUnavailable, match="run_code=True"):
        score("code_exec", ["good"], ["assert True"])
    assert not ran
    found = score("code_exec", ["good", "bad"], ["assert 1", "assert 2"], run_code=True)
    assert found.items == (1.0, 0.0)
    assert ran == [("good", "assert 1"), ("bad", "assert 2")]


def test_mathematical_equivalence_forgives_what_exact_match_does_not():
    assert score("exact_match", ["126.0"], ["126"]).value == 0.0
    assert score("mathematical_equivalence", ["126.0", "3"], ["126", "4"]).items == (1.0, 0.0)


def test_metrics_are_imported_without_jax_torch_or_anything_that_a_metric_alone_needs():
    code = (
        "import sys; import llmjp_jax.evaluation.metrics, llmjp_jax.evaluation.answers, llmjp_jax.evaluation.prompts;"
        "print([m for m in ('jax', 'torch', 'tensorflow', 'sacrebleu', 'rapidfuzz', 'bert_score', 'comet', 'MeCab') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_reference_version_is_another_number_than_the_sound_one():
    predictions, golds = ["naïve", "A\nA", "the cat sat on it"], ["nave", "A\nA", "the cat sat on the mat"]  # fmt: skip
    for metric in ("char_f1", "set_f1", "bleu_en"):
        sound, reference = (score(metric, predictions, golds, compat=compat).value for compat in (None, COMPAT))  # fmt: skip
        assert sound != pytest.approx(reference, abs=1e-3), metric
