"""Runs are read as they were written; what is missing, half-written or of two evaluations is named."""

import json
import re
import shutil

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.report.provenances import unlikes_of, warnings_of
from llmjp_jax.evaluation.report.runs import read_runs
from tests.evaluation.report.sample_runs import write_run


@pytest.fixture
def run(tmp_path, runs_dir):
    shutil.copytree(runs_dir / "base", tmp_path / "base")
    return tmp_path / "base"


def rewrite(path, change):
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_run_has_its_tasks_answers_judges_and_safety(run):
    (read,) = read_runs([run])
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    assert read.name == "base" and list(read.tasks) == list(summary["tasks"])
    assert read.average == summary["average"] and read.categories == summary["categories"]
    task = read.tasks["jemhopqa"]
    assert len(task.items) == 30 and task.metrics["char_f1"].value == summary["tasks"]["jemhopqa"]["metrics"]["char_f1"]["value"]  # fmt: skip
    assert set(read.judged) == {"vicuna", "mt_bench", "answer_carefully", "toxicity", "jbbq"}


@pytest.mark.parametrize("file, damage, said", [
    ("tasks/jnli.json", lambda p: p.unlink(), "jnli.json is missing"),
    ("tasks/jnli.json", lambda p: p.write_bytes(p.read_bytes()[:500]), "jnli.json is half-written"),
    ("summary.json", lambda p: p.write_bytes(p.read_bytes()[:-20]), "summary.json is half-written"),
    ("summary.json", lambda p: rewrite(p, lambda c: c.pop("categories")), "summary.json has no categories"),
    ("summary.json", lambda p: rewrite(p, lambda c: c["tasks"]["jnli"].update(samples=7)), "jnli.json has 30 items and .*says 7"),
    ("summary.json", lambda p: rewrite(p, lambda c: c["tasks"]["jnli"]["metrics"]["exact_match"].update(value=0.9)), "says .* for exact_match and .*says 0.9"),
    ("summary.json", lambda p: rewrite(p, lambda c: c.update(average="high")), "average = 'high', which is no number"),
    ("summary.json", lambda p: rewrite(p, lambda c: c.update(average=float("inf"))), "average = inf, which is no number"),
    ("summary.json", lambda p: rewrite(p, lambda c: c["tasks"]["jnli"].update(category=5)), "category = 5, which is no str"),
    ("tasks/jnli.json", lambda p: rewrite(p, lambda c: c["items"][3]["scores"].update(exact_match="x")), "item 3, has exact_match = 'x'"),
    ("tasks/jnli.json", lambda p: rewrite(p, lambda c: c["items"][3].pop("gold")), "jnli.json, item 3, has no gold"),
    ("tasks/jnli.json", lambda p: rewrite(p, lambda c: c["items"][3].update(index=2)), "two items of one index"),
    ("tasks/jnli.json", lambda p: rewrite(p, lambda c: c["items"][3]["scores"].clear()), "no score of exact_match for 1 of its 30"),
    ("judges/vicuna.json", lambda p: p.write_text("{"), "vicuna.json is half-written"),
    ("judges/vicuna.json", lambda p: rewrite(p, lambda c: c.update(kind="mt_bench")), "vicuna.json holds a result of kind 'mt_bench'"),
])  # fmt: skip
def test_a_damaged_run_is_one_sentence_that_names_the_file(run, file, damage, said):
    damage(run / file)
    with pytest.raises(UserError, match=said) as caught:
        read_runs([run])
    assert "\n" not in str(caught.value)


def test_a_score_that_is_not_a_number_is_one_that_was_not_computed(run):
    """As of a learned metric on a text that its model has no value for."""

    def spoil(content):
        content["scores"]["exact_match"]["value"] = float("nan")
        for item in content["items"]:
            item["scores"]["exact_match"] = float("nan")

    rewrite(run / "tasks/jnli.json", spoil)
    rewrite(run / "summary.json", lambda c: c["tasks"]["jnli"]["metrics"]["exact_match"].update(value=float("nan")))  # fmt: skip
    (read,) = read_runs([run])
    assert read.tasks["jnli"].metrics["exact_match"].value is None


def test_runs_whose_answers_might_not_be_as_long_are_not_comparable(run, tmp_path):
    shutil.copytree(run, tmp_path / "short")
    for folder, length in ((run, 15), (tmp_path / "short", 4)):
        rewrite(folder / "tasks/jemhopqa.json", lambda c, length=length: c["provenance"].update(output_length=length))  # fmt: skip
    runs = read_runs([run, f"short={tmp_path / 'short'}"])
    (said,) = warnings_of(runs, unlikes_of(runs))
    assert said == "Not comparable: base and short differ in longest answer in tokens (15 and 4) in jemhopqa."  # fmt: skip


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(UserError, match="there is no run at .*nowhere"):
        read_runs([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="has no summary.json, no results.json"):
        read_runs([tmp_path])
    with pytest.raises(UserError, match="at least one run"):
        read_runs([])


def test_a_run_that_was_only_judged_is_a_run(run):
    (run / "summary.json").unlink()
    (run / "results.json").unlink()
    (read,) = read_runs([run])
    assert read.tasks == {} and read.average is None and "vicuna" in read.judged


def test_names_are_given_or_the_models_and_never_the_same(runs_dir):
    read = read_runs([runs_dir / "better", f"mine={runs_dir / 'base'}"])
    assert [one.name for one in read] == ["better, step 1200", "mine"]
    assert len({one.name for one in read_runs([runs_dir / "base", f"base={runs_dir / 'other'}"])}) == 2  # fmt: skip
    with pytest.raises(UserError, match="two runs are called"):
        read_runs([runs_dir / "base", runs_dir / "base"])


def test_a_path_with_an_equals_sign_is_a_path(tmp_path, runs_dir):
    shutil.copytree(runs_dir / "base", tmp_path / "lr=0.1")
    assert read_runs([tmp_path / "lr=0.1"])[0].name == "base"


def test_all_tasks_data_has_one_version_which_changes_with_any(tmp_path, runs_dir):
    versions = {read_runs([runs_dir / name])[0].provenance["data_version"] for name in ("base", "better", "other")}  # fmt: skip
    assert len(versions) == 1 and re.fullmatch("[0-9a-f]{12}", versions.pop())
    write_run(tmp_path, data_seed=9, tasks=["jnli"], samples=5, judged=False)
    assert read_runs([tmp_path])[0].provenance["data_version"] != read_runs([runs_dir / "base"])[0].provenance["data_version"]  # fmt: skip


def test_what_was_left_out_or_cut_is_said(run):
    def change(content):
        content["left_out"] = ["data/evaluation/dev/mmluen.json is missing"]
        content["tasks"]["jnli"]["shortened"] = 4

    rewrite(run / "summary.json", change)
    notices = read_runs([run])[0].notices
    assert "mmluen.json is missing" in notices[0] and re.search(
        r"lost shots or their start: jnli \(4 of \d+\)", notices[1]
    )
