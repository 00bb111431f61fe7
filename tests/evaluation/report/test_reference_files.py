"""llm-jp-eval's own result files stand beside our runs with the same numbers."""

import dataclasses
import json

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.report.findings import find
from llmjp_jax.evaluation.report.runs import read_runs


def test_its_scores_are_read_and_the_sound_ones_computed_from_its_answers(runs_dir):
    ours, theirs = read_runs([runs_dir / "base", f"theirs={runs_dir / 'base' / 'results.json'}"])
    assert not theirs.own and list(theirs.tasks) == list(ours.tasks)
    for name, task in ours.tasks.items():
        for metric, expected in task.metrics.items():
            found = theirs.tasks[name].metrics[metric]
            assert found.compat == pytest.approx(expected.compat, abs=5.1e-5), metric
            if metric != "comet_wmt22":  # takes a model: llm-jp-eval's number stands for both
                assert found.value == pytest.approx(expected.value, abs=5.1e-5), (name, metric)
    assert theirs.provenance["shots"] == 4 and theirs.provenance["data_version"] == "1.3.0"
    assert theirs.categories["QA"] == pytest.approx(ours.categories["QA"], abs=1e-4)
    assert "as it came" not in theirs.tasks["jnli"].items[0].prompt


def test_beside_ours_it_is_said_what_it_is_and_what_cannot_be_told(runs_dir):
    runs = read_runs([runs_dir / "base", f"theirs={runs_dir / 'base' / 'results.json'}"])
    runs = [dataclasses.replace(run, tasks={name: run.tasks[name] for name in ("jnli", "niilc")}) for run in runs]  # fmt: skip
    findings = find(runs, progress=False)
    said = "\n".join(findings.warnings)
    assert "theirs: a result file of llm-jp-eval itself" in said
    assert "same data version cannot be told" in said and "same prompt template cannot" in said
    assert "Not comparable" not in said
    row = next(row for row in findings.tasks if (row.name, row.metric) == ("jnli", "exact_match"))
    assert row.cells[0].interval == pytest.approx(row.cells[1].interval, abs=1e-4)
    assert row.cells[1].difference.value == 0


def write(path, **content):
    path.write_text(json.dumps({"scores": {}, "outputs": {}, "config": {}} | content), encoding="utf-8")  # fmt: skip
    return path


OUTPUT = {"prompt": "…{input}…", "input": "質問", "pred": "京都", "gold": "京都"}


def test_the_longest_task_that_a_score_begins_with_is_its_task(tmp_path):
    path = write(tmp_path / "a.json", scores={"toy_char_f1": "1.0000", "toy_two_exact_match": "nan", "NLI": "0.5000", "AVG": "0.0556"},
                 outputs={"toy": [OUTPUT], "toy_two": [OUTPUT]})  # fmt: skip
    (run,) = read_runs([path])
    assert list(run.tasks["toy"].metrics) == ["char_f1"] and list(run.tasks["toy_two"].metrics) == ["exact_match"]  # fmt: skip
    assert run.tasks["toy_two"].metrics["exact_match"].compat is None
    assert run.compat_average == 0.0556 and run.tasks["toy"].items[0].prompt == "…質問…"


@pytest.mark.parametrize("content, said", [
    ({"scores": {"jnli_exact_match": "high"}}, "jnli_exact_match = 'high', which is no number"),
    ({"outputs": {"jnli": [{"input": "a", "gold": "b"}]}}, "jnli, output 0, has no pred"),
    ({"scores": []}, "which is no dict"),
])  # fmt: skip
def test_another_file_is_refused(tmp_path, content, said):
    with pytest.raises(UserError, match=said):
        read_runs([write(tmp_path / "a.json", **content)])
