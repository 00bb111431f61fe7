"""Categories and their intervals come from their tasks, and runs are compared on the items that both have."""

import dataclasses
import random

import numpy as np
import pytest

from llmjp_jax.evaluation.aggregation import categories
from llmjp_jax.evaluation.metrics import COMPAT, score
from llmjp_jax.evaluation.report import measuring
from llmjp_jax.evaluation.report.bootstrap import generator, interval
from llmjp_jax.evaluation.report.measuring import complete_categories, differences, measure, weights
from llmjp_jax.evaluation.report.runs import read_runs
from tests.evaluation.report.sample_runs import write_run


@pytest.fixture(scope="module")
def read(runs_dir):
    return read_runs([runs_dir / name for name in ("base", "better", "other")])


@pytest.fixture(scope="module")
def measured(read):
    return measure(read[0], progress=False)


@pytest.mark.parametrize("version, compat", [("value", None), ("compat", COMPAT)])
def test_weights_are_what_the_aggregation_does_with_any_scores(version, compat):
    keys = [("jnli", "exact_match"), ("jsem", "exact_match"), ("niilc", "char_f1"), ("jsts", "pearson"), ("jmmlu", "exact_match")]  # fmt: skip
    values = [random.Random(1).random() for _ in keys]
    expected = categories({f"{task}_{metric}": value for (task, metric), value in zip(keys, values, strict=True)}, compat=compat)  # fmt: skip
    found = {name: share @ values for name, share in weights(keys, version).items()}
    assert found == pytest.approx(expected) and "AVG" in found


def test_a_tasks_interval_is_that_of_its_items_means(read, measured):
    scores = np.array([item.scores["exact_match"] for item in read[0].tasks["jnli"].items])
    drawn = generator("interval", "jnli").integers(30, size=(1000, 30))
    found = measured.tasks["value"]["jnli", "exact_match"]
    assert found.value == pytest.approx(scores.mean())
    assert found.interval == pytest.approx(interval(scores[drawn].mean(axis=1)))


def test_a_categorys_interval_is_of_its_tasks_resampled_together(read, measured):
    parts = [measured.tasks["value"][key].resamples for key in (("jemhopqa", "char_f1"), ("niilc", "char_f1"))]  # fmt: skip
    found = measured.categories["value"]["QA"]
    assert found.value == read[0].categories["QA"]
    assert found.interval == pytest.approx(interval((parts[0] + parts[1]) / 2))
    narrowest = min(high - low for low, high in map(interval, parts))
    assert found.interval[1] - found.interval[0] < narrowest  # two tasks' chance is less than one's
    assert measured.categories["value"]["AVG"].interval[0] < read[0].average


def test_a_corpus_metrics_interval_is_the_metric_of_drawn_answers(read, measured, monkeypatch):
    monkeypatch.setattr("llmjp_jax.evaluation.report.bootstrap.resample.__defaults__", (20,))
    items = read[0].tasks["jsts"].items
    drawn = generator("interval", "jsts").integers(30, size=(20, 30))
    expected = [
        score("pearson", [items[i].prediction for i in row], [items[i].gold for i in row]).value
        for row in drawn
    ]
    found = measuring._resamples(read[0].tasks["jsts"], "pearson", "value")
    assert found == pytest.approx(expected)
    low, high = measured.tasks["value"]["jsts", "pearson"].interval
    assert low < read[0].tasks["jsts"].metrics["pearson"].value < high


def test_llm_jp_evals_version_has_an_interval_of_its_own(read, measured):
    value, compat = (measured.tasks[version]["alt-e-to-j", "bleu_ja"] for version in ("value", "compat"))  # fmt: skip
    assert compat.value == read[0].tasks["alt-e-to-j"].metrics["bleu_ja"].compat != value.value
    items = read[0].tasks["alt-e-to-j"].items
    answers, golds = [item.compat_prediction for item in items], [item.gold for item in items]
    scores = np.array(score("bleu_ja", answers, golds, compat=COMPAT).items)
    drawn = generator("interval", "alt-e-to-j").integers(30, size=(1000, 30))
    assert compat.interval == pytest.approx(interval(scores[drawn].mean(axis=1)))
    # Its item scores take a model: the sound one's interval, moved.
    value, compat = (measured.tasks[version]["alt-e-to-j", "comet_wmt22"] for version in ("value", "compat"))  # fmt: skip
    assert compat.interval == pytest.approx([end - 0.002 for end in value.interval])


def test_only_categories_with_all_their_tasks_are_complete(read):
    assert complete_categories(read[0]) == {"EL", "MC", "RC", "MR", "QA"}
    without = {name: task for name, task in read[0].tasks.items() if name != "niilc"}
    assert "QA" not in complete_categories(dataclasses.replace(read[0], tasks=without))


def test_better_answers_are_found_better_and_a_run_does_not_differ_from_itself(read):
    base, better, other = read
    found = differences(base, better, progress=False)
    gained = found.tasks["jemhopqa", "char_f1"]
    assert gained.items == 30 and gained.value > 0.2 and gained.p < 0.001
    assert found.categories["QA"].p < 0.001 and found.categories["AVG"].value > 0.2
    same = differences(base, base, progress=False)
    assert all(one.p == 1.0 and one.value == 0 for one in same.tasks.values())


def test_items_are_paired_where_index_input_and_gold_are_the_same(read, tmp_path):
    base, other = read[0], read[2]
    assert differences(base, other, progress=False).tasks["jnli", "exact_match"].items == 20
    write_run(tmp_path, data_seed=5, tasks=["jnli"], samples=30, judged=False)
    (another,) = read_runs([tmp_path])
    assert differences(base, another, progress=False).tasks["jnli", "exact_match"] is None


def test_a_category_is_not_compared_where_the_runs_have_other_tasks_in_it(read):
    base, better = read[:2]
    without = {name: task for name, task in better.tasks.items() if name != "niilc"}
    found = differences(base, dataclasses.replace(better, tasks=without), progress=False)
    assert found.categories["QA"] is None and found.categories["AVG"] is None
    assert found.categories["RC"] is not None


def test_a_task_of_one_item_has_no_interval(read):
    task = read[0].tasks["jnli"]
    assert measuring._resamples(dataclasses.replace(task, items=task.items[:1]), "exact_match", "value") is None  # fmt: skip
