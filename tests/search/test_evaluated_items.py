"""The items that are looked up are those that were asked, with their answers as their files have them."""

import json

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.report.contamination import identity
from llmjp_jax.evaluation.report.runs import read_runs
from llmjp_jax.search.evaluated_items import identity_of, items_of_folder, items_of_run
from tests.search.small_run import write_data, write_run

PAIRS = [("質問：これは何ですか？", "ＮＨＫ！ "), ("What is it?", "a cat"), ("１＋１は？", "2")]


@pytest.fixture
def data_dir(tmp_path):
    return write_data(tmp_path / "data", {"niilc": PAIRS, "jemhopqa": PAIRS[1:]})


@pytest.fixture
def run(tmp_path, data_dir):
    return write_run(tmp_path / "run", data_dir, {"niilc": ["a"] * 3, "jemhopqa": ["b"] * 2}, 2)


def change(path, edit):
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_a_runs_items_are_those_that_it_was_asked_as_their_file_has_them(run):
    tasks = items_of_run(*read_runs([run]))
    assert [(task.name, task.split, len(task.questions)) for task in tasks] == [("niilc", "dev", 2), ("jemhopqa", "dev", 2)]  # fmt: skip
    assert [(q.index, q.input, q.output) for q in tasks[0].questions] == [(0, *PAIRS[0]), (1, *PAIRS[1])]  # fmt: skip
    assert tasks[0].questions[0].gold == "NHK!"


def test_answers_of_a_run_that_has_them_in_nfkc_alone_are_read_in_its_data_folder(run, data_dir):
    change(run / "tasks" / "niilc.json", lambda content: [item.pop("output", None) for item in content["items"]])  # fmt: skip
    (read,) = read_runs([run])
    assert items_of_run(read)[0].questions[0].output == "NHK!"
    assert items_of_run(read, data_dir)[0].questions[0].output == "ＮＨＫ！ "


def test_a_data_folders_items_are_known_as_the_same_as_a_runs(run, data_dir):
    of_folder = items_of_folder(data_dir, split="dev", samples=2)
    of_run = items_of_run(*read_runs([run]))
    assert {task.name: task for task in of_folder} == {task.name: task for task in of_run}
    question = of_run[0].questions[0]
    assert identity_of(question) == identity("質問：これは何ですか？", "NHK!")
    assert len({identity_of(q) for task in of_folder[:1] for q in task.questions}) == 2


def test_a_data_folder_of_other_items_is_refused(run, data_dir, tmp_path):
    (read,) = read_runs([run])
    other = write_data(tmp_path / "other", {"niilc": PAIRS[::-1], "jemhopqa": PAIRS})
    with pytest.raises(UserError, match="niilc.json is not the file of data version .* that the run was asked"):  # fmt: skip
        items_of_run(read, other)
    for task in ("niilc", "jemhopqa"):
        change(run / "tasks" / f"{task}.json", lambda content: content["provenance"].update(data_version=None))  # fmt: skip
    with pytest.raises(UserError, match="niilc.json has another item 0 than the run was asked"):
        items_of_run(*read_runs([run]), other)
    with pytest.raises(UserError, match="there is no task file"):
        items_of_run(read, tmp_path)


def test_half_a_character_is_refused_with_its_item(run):
    change(run / "tasks" / "niilc.json", lambda content: content["items"][1].update(input="x\ud800"))  # fmt: skip
    with pytest.raises(UserError, match="niilc, item 1 has half a character"):
        items_of_run(*read_runs([run]))


def test_a_run_that_was_only_judged_has_no_items(run):
    import dataclasses

    (read,) = read_runs([run])
    with pytest.raises(UserError, match="has no tasks"):
        items_of_run(dataclasses.replace(read, tasks={}))
