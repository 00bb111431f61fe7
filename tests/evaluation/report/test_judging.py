"""Judges' and safety numbers are those of their files, with intervals where the items explain them."""

import dataclasses

import pytest

from llmjp_jax.evaluation.report.findings import find
from llmjp_jax.evaluation.report.judging import JudgedScore, compare, read
from llmjp_jax.evaluation.report.runs import Judged, read_runs


def judged(kind, scores, items, categories=None):
    return Judged(kind, {}, scores, categories or {}, {}, tuple(items))


def judged_only(runs_dir, *names):
    return [dataclasses.replace(run, tasks={}) for run in read_runs([runs_dir / name for name in names])]  # fmt: skip


def outcomes(*names):
    return [{"question_id": str(k), "category": "math", "outcome": name} for k, name in enumerate(names)]  # fmt: skip


RATE = JudgedScore("adjusted_win_rate", "AdjustedWinRate, %", 100.0)


def test_a_win_rate_is_in_per_cent_with_the_interval_of_its_questions():
    one = judged("vicuna", {"adjusted_win_rate": 0.625}, outcomes(*["win"] * 20, *["tie"] * 10, *["loss"] * 10, "error"))  # fmt: skip
    found = read(one, RATE, category=False)
    assert found.value == 62.5 and found.interval[0] < 62.5 < found.interval[1]
    assert found.interval[0] > 45 and found.interval[1] < 80


def test_items_that_do_not_explain_a_number_give_it_no_interval():
    one = judged("vicuna", {"adjusted_win_rate": 0.9}, outcomes("win", "loss", "tie"))
    assert read(one, RATE, category=False).interval is None
    assert read(judged("vicuna", {}, []), RATE, category=False) is None


def test_marks_of_both_turns_count_and_one_that_is_missing_does_not():
    items = [{"question_id": str(k), "category": "math", "ratings": marks} for k, marks in enumerate([[2, 4], [6, None]])]  # fmt: skip
    one = judged("mt_bench", {"average": 4.0, "turn_2": 4.0}, items, {"math": 4.0})
    for score, category in (("average", False), ("turn_2", False), ("math", True)):
        assert read(one, JudgedScore(score, score), category).value == 4.0
    assert read(one, JudgedScore("average", ""), False).interval == pytest.approx((3.0, 6.0))


def test_an_interval_that_a_file_has_stands():
    one = judged("toxicity", {"toxicity_rate": 0.1, "toxicity_rate_low": 0.05, "toxicity_rate_high": 0.2}, [])  # fmt: skip
    assert read(one, JudgedScore("toxicity_rate", "", 100.0), False).interval == (5.0, 20.0)


def test_two_judged_runs_are_compared_on_their_common_questions():
    worse = judged("vicuna", {"adjusted_win_rate": 0.25}, outcomes(*["loss"] * 15, *["win"] * 5))
    better = judged("vicuna", {"adjusted_win_rate": 0.9}, outcomes(*["win"] * 18, *["loss"] * 2))
    found = compare(worse, better, RATE, category=False)
    assert found.value == pytest.approx(65.0) and found.items == 20 and found.p < 0.01
    unexplained = dataclasses.replace(better, scores={"adjusted_win_rate": 0.5})
    assert compare(worse, unexplained, RATE, category=False) is None


def test_every_kind_has_its_rows_and_the_papers_beside_them(runs_dir):
    findings = find(judged_only(runs_dir, "base", "better"), ["v2.0-O", "v1.0-A"], progress=False)  # fmt: skip
    found = {one.kind: one for one in findings.judged}
    assert list(found) == ["vicuna", "mt_bench", "answer_carefully", "toxicity", "jbbq"]
    assert found["vicuna"].paper.shown == found["answer_carefully"].paper.shown == ("v2.0-O",)
    assert found["toxicity"].paper is None
    careful = {row.name: row for row in found["answer_carefully"].rows}
    assert careful["violations, %"].paper == "violation"
    violations = careful["violations, %"].cells
    assert violations[0].value > violations[1].value and violations[1].difference.significant
    assert violations[0].interval and found["answer_carefully"].paper.outside["v2.0-M"]["violation"] == (1, 1)  # fmt: skip
    rows = {row.name for row in found["jbbq"].rows}
    assert "bias score, ambiguous (−1 to 1)" in rows and "accuracy, %" in rows
    assert not any(name.endswith(("low", "high")) for name in {row.name for row in found["toxicity"].rows})  # fmt: skip


def test_another_judge_is_a_warning(runs_dir):
    runs = judged_only(runs_dir, "base", "better")
    vicuna = runs[1].judged["vicuna"]
    other = dataclasses.replace(vicuna, provenance={**vicuna.provenance, "judge": "gpt-4o"})
    runs[1] = dataclasses.replace(runs[1], judged={"vicuna": other})
    findings = find(runs, progress=False)
    assert any("differ in judge (gpt-4-0613 and gpt-4o) in Japanese Vicuna QA" in said for said in findings.warnings)  # fmt: skip
    assert {one.kind: one.unlike[1] for one in findings.judged}["vicuna"] == "judge"
    assert findings.unlike[1] == ""
