"""The manifest of tasks: what is in "all", how names are found, and what a wrong table is told."""

import re

import pytest

from llmjp_jax.corpus.sources import load_sources
from llmjp_jax.errors import UserError
from llmjp_jax.evaluation import tasks as module
from llmjp_jax.evaluation.preparation import PREPARERS, RAW_FOLDERS
from llmjp_jax.evaluation.tasks import find_task, load_tasks, select_tasks

ALL = (
    "alt-e-to-j alt-j-to-e chabsa jamp janli jcommonsenseqa jemhopqa jmmlu jnli jsem jsick jsquad jsts mawps mmluen niilc "
    "wikicorpus-e-to-j wikicorpus-j-to-e wiki_reading wiki_ner wiki_dependency wiki_pas wiki_coreference"
).split()


def test_all_is_the_23_tasks_of_1_3_in_the_evaluators_order():
    assert [task.name for task in select_tasks("all")] == ALL


def test_all_1_4_adds_the_registered_tasks_of_1_4_and_no_unregistered_one():
    names = [task.name for task in select_tasks("all-1.4")]
    assert names[:23] == ALL
    assert "commonsensemoralja" in names
    assert all(find_task(name).registered for name in names)
    assert not {"jblimp", "jcola-in-domain", "jcola-out-of-domain"} & set(names)


def test_several_names_keep_their_order_and_come_once():
    assert [t.name for t in select_tasks(["jsts", "jnli", "jsts"])] == ["jsts", "jnli"]


@pytest.mark.parametrize("name, nearest", [("jsqad", "jsquad"), ("wiki-ner", "wiki_ner")])
def test_an_unknown_task_names_the_nearest(name, nearest):
    with pytest.raises(UserError, match=f"did you mean {nearest}"):
        find_task(name)


def test_no_name_at_all_is_an_error():
    with pytest.raises(UserError, match="name an evaluation task"):
        select_tasks([])


def test_every_task_has_a_preparer_a_raw_folder_and_a_download():
    sources = load_sources()
    assert set(load_tasks()) == set(PREPARERS) == set(RAW_FOLDERS)
    assert {task.source for task in load_tasks().values()} <= set(sources)


def test_official_hashes_are_hashes_and_each_stands_for_one_task():
    hashes = [h for task in load_tasks().values() for h in set(task.official_sha256.values())]
    assert all(re.fullmatch("[0-9a-f]{64}", h) for h in hashes)
    assert len(hashes) == len(set(hashes))
    for name in ALL:
        assert "1.3.1" in find_task(name).official_sha256


def test_instructions_limits_and_metrics_are_those_of_the_reference(shared_data):
    import json

    for path in sorted((shared_data / "evaluation/golden/official").glob("*.json")):
        official, task = json.loads(path.read_text()), find_task(path.stem)
        assert (task.instruction, task.output_length, list(task.metrics)) == (
            official["instruction"], official["output_length"], official["metrics"]
        )  # fmt: skip
        assert task.samples[1] == official["n_samples"]
        assert task.official_sha256["1.3.1"] == official["sha256_of_complete_dev_file"]


def test_the_translations_into_english_are_scored_as_english():
    for name in ALL:
        if find_task(name).category == "MT":
            to = "en" if name.endswith("to-e") else "ja"
            assert find_task(name).metrics == (f"bleu_{to}", f"bert_score_{to}_f1", "comet_wmt22")


def test_like_takes_over_what_is_not_said_but_neither_hash_nor_samples(monkeypatch):
    task = read(monkeypatch, b={"like": "a", "output_length": 9})["b"]
    assert (task.instruction, task.output_length, task.samples) == ("Do it.", 9, None)
    assert task.official_sha256 == {}


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"output_lenght": 3}, "unknown field output_lenght"),
        ({"output_length": 0}, "output_length = 0"),
        ({"output_length": True}, "output_length = True"),
        ({"metrics": []}, "metrics"),
        ({"instruction": ""}, "instruction"),
        ({"category": "XX"}, "category = 'XX'"),
        ({"since": "1.5"}, "since = '1.5'"),
        ({"like": "c"}, "like = 'c'"),
        ({"like": "b"}, "like = 'b'"),
    ],
)
def test_a_wrong_table_is_named_with_what_is_wrong(monkeypatch, fields, said):
    with pytest.raises(UserError, match=said):
        read(monkeypatch, b={"like": "a", **fields})


def test_a_missing_field_is_named(monkeypatch):
    with pytest.raises(UserError, match=r"\[tasks.b\] has no field commercial"):
        read(monkeypatch, b={"instruction": "x"})


def read(monkeypatch, **tables):
    first = {
        "instruction": "Do it.", "output_length": 3, "metrics": ["exact_match"], "since": "1.3", "source": "jglue",
        "licence": "MIT", "commercial": True, "samples": [1, 2, 3], "dev_sha256": {"1.3.1": "0" * 64},
    }  # fmt: skip
    monkeypatch.setattr(module, "load_manifest", lambda name: {"tasks": {"a": first, **tables}})
    module._tasks.cache_clear()
    try:
        return load_tasks()
    finally:
        monkeypatch.undo()
        module._tasks.cache_clear()
