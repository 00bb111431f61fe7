"""Every pair and group that llm-jp-eval 1.3 itself has scored, against the compat version."""

import json

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.answers import parse_answer, parse_gold
from llmjp_jax.evaluation.metrics import COMPAT, ReferenceStops, find_metric, parse_float, score

TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def golden(shared_data):
    return json.loads((shared_data / "evaluation/golden/metrics.json").read_text())


def assert_scores(wanted: dict, predictions: list[str], golds: list[str]) -> int:
    for metric, value in wanted.items():
        if value is None:  # a name that the reference does not know
            with pytest.raises(UserError, match="there is no metric"):
                find_metric(metric)
        elif isinstance(value, dict):
            with pytest.raises(ReferenceStops) as caught:
                score(metric, predictions, golds, compat=COMPAT)
            assert caught.value.error == value["error"], (metric, predictions, golds)
        else:
            found = score(metric, predictions, golds, compat=COMPAT).value
            assert found == pytest.approx(value, abs=TOLERANCE, rel=0), (metric, predictions, golds)  # fmt: skip
    return len(wanted)


@pytest.mark.parametrize("strip", [True, False], ids=["stripped", "as_in_1_3_0"])
def test_each_pair_has_the_references_scores(golden, strip):
    count = 0
    for pair in golden["pairs"]:
        wanted = pair if strip else {**pair, **pair.get("without_strip", {})}
        prediction = parse_answer(pair["pred_raw"], COMPAT, strip=strip)
        gold = parse_gold(pair["gold_raw"], COMPAT)
        assert (prediction, gold) == (wanted["pred_normalized"], wanted["gold_normalized"])
        assert parse_float(prediction) == wanted["parse_float_of_pred"]
        count += assert_scores(wanted["metrics"], [prediction], [gold])
    assert count >= 5 * 100


def test_each_group_has_the_references_scores(golden):
    kinds = set()
    for group in golden["groups"]:
        predictions = [parse_answer(raw, COMPAT) for raw, _ in group["pairs"]]
        golds = [parse_gold(gold, COMPAT) for _, gold in group["pairs"]]
        if "parse_float_preds" in group:
            assert [parse_float(text) for text in predictions] == group["parse_float_preds"]
        assert_scores(group["metrics"], predictions, golds)
        kinds |= set(group["metrics"])
    assert {"pearson", "spearman", "exact_match", "char_f1", "set_f1", "bleu_en"} <= kinds


def test_the_sound_version_differs_where_the_references_faults_show_and_only_there(golden):
    """The pairs on which accents, rounding, punctuation or lines that stand twice make a difference are known."""
    differing = {}
    for pair in golden["pairs"]:
        prediction = parse_answer(pair["pred_raw"], COMPAT)
        gold = parse_gold(pair["gold_raw"], COMPAT)
        for metric in ("char_f1", "set_f1"):
            found = score(metric, [prediction], [gold]).value
            if abs(found - pair["metrics"][metric]) > 0.005 + TOLERANCE:
                differing.setdefault(metric, set()).add((prediction, gold))
    assert differing["char_f1"] == {
        ("。", "、"), ("!", "?"), ("〜", "~"), ("。", ""),
        ("café", "cafe"), ("naïve", "nave"), ("5×5", "55"),
    }  # fmt: skip
    assert differing["set_f1"] == {
        ("A -> B\nA -> B", "A -> B\nA -> B"), ("A -> B\n \nB -> C", "A -> B\nB -> C"),
        ("", "A\n\nB"), ("A", "A\n\nB"),
    }  # fmt: skip
