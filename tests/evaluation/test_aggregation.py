"""Categories and their average."""

import dataclasses
import json
import math
import random

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation import aggregation
from llmjp_jax.evaluation.aggregation import as_strings, categories, counted_metric
from llmjp_jax.evaluation.metrics import COMPAT, METRICS
from llmjp_jax.evaluation.tasks import find_task, load_tasks

NINE = {"NLI", "QA", "RC", "MC", "HE", "EL", "FA", "MR", "MT"}


def test_golden_scores_become_the_references_result_file(shared_data):
    golden = json.loads((shared_data / "evaluation/golden/metrics.json").read_text())["aggregation"]
    for case in golden:
        scores = {
            key: math.nan if value == "NaN" else value
            for key, value in case["input_scores"].items()
        }
        added = categories(scores, compat=COMPAT) if case["add_avg_score"] else {}
        found = as_strings({**scores, **added})
        assert found == case["output"]
        assert list(found) == sorted(case["output"]), "the file is sorted by key"
    assert {case["name"] for case in golden} >= {"all_tasks", "only_nli_and_qa", "nan"}


def test_compat_counts_what_was_not_measured_as_0():
    found = categories({"jnli_exact_match": 0.9}, compat=COMPAT)
    assert set(found) == NINE | {"AVG"}
    assert found["NLI"] == 0.9 and found["AVG"] == pytest.approx(0.1) and found["MT"] == 0.0
    assert categories({}, compat=COMPAT)["AVG"] == 0.0


def test_the_sound_version_averages_what_was_measured():
    scores = {"jnli_exact_match": 0.5, "jsick_exact_match": 0.7, "niilc_char_f1": 0.2, "jsts_pearson": 0.9}  # fmt: skip
    assert categories(scores) == pytest.approx({"NLI": 0.6, "QA": 0.2, "AVG": 0.4})
    assert categories({}) == {} and categories({"jsts_pearson": 0.9}) == {}


def test_all_tasks_measured_give_the_same_in_both_versions():
    choice = random.Random(0)
    scores = {
        f"{task.name}_{metric}": choice.random()
        for task in load_tasks().values() if task.since == "1.3"
        for metric in task.metrics
    }  # fmt: skip
    found = categories(scores)
    assert found == categories(scores, compat=COMPAT)
    assert set(found) == NINE | {"AVG"}
    # By hand, for three of them.
    assert found["HE"] == pytest.approx((scores["mmluen_exact_match"] + scores["jmmlu_exact_match"]) / 2)  # fmt: skip
    fa = [scores["wiki_reading_char_f1"], *(scores[f"wiki_{name}_set_f1"] for name in ("ner", "dependency", "pas", "coreference"))]  # fmt: skip
    assert found["FA"] == pytest.approx(sum(fa) / 5)
    mt = [value for key, value in scores.items() if key.endswith("comet_wmt22")]
    assert len(mt) == 4 and found["MT"] == pytest.approx(sum(mt) / 4)
    assert found["AVG"] == pytest.approx(sum(found[name] for name in NINE) / 9)


def test_compat_does_not_know_the_tasks_of_1_4(monkeypatch):
    newer = dataclasses.replace(find_task("mmluen"), name="mmlu_en", since="1.4")
    monkeypatch.setattr(aggregation, "load_tasks", lambda: {**load_tasks(), "mmlu_en": newer})
    scores = {"mmlu_en_exact_match": 1.0}
    assert categories(scores) == {"HE": 1.0, "AVG": 1.0}
    assert categories(scores, compat=COMPAT)["AVG"] == 0.0


def test_what_a_category_counts_is_a_metric_of_the_task_that_is_known():
    for task in load_tasks().values():
        assert counted_metric(task) in task.metrics, task.name
        assert set(task.metrics) <= set(METRICS), task.name
    assert counted_metric(find_task("alt-e-to-j")) == "comet_wmt22"


def test_an_unknown_version_is_refused():
    with pytest.raises(UserError, match="compat"):
        categories({}, compat="1.3")
