"""The files of a task: byte for byte as llm-jp-eval's, read back strictly."""

import json

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.task_files import (
    Sample,
    TaskFile,
    evaluation_path,
    read_task_file,
    tuning_path,
    tuning_records,
    write_task_files,
)

FILE = TaskFile("答えて。", 3, ("exact_match",), (Sample("前提：甲", "yes"), Sample("", "")))
BYTES = """{
    "instruction": "答えて。",
    "output_length": 3,
    "metrics": [
        "exact_match"
    ],
    "few_shots": [],
    "samples": [
        {
            "input": "前提：甲",
            "output": "yes"
        },
        {
            "input": "",
            "output": ""
        }
    ]
}"""


def test_a_file_has_llm_jp_evals_bytes():
    assert FILE.bytes() == BYTES.encode()


def test_a_file_is_read_back_as_it_was(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(FILE.bytes())
    assert read_task_file(path) == FILE


def test_the_text_to_tune_on_leaves_an_empty_input_out():
    header = "以下は、タスクを説明する指示と、文脈のある入力の組み合わせです。要求を適切に満たす応答を書きなさい。"
    start = f"{header}\n\n### 指示:\n答えて。"
    records = tuning_records("toy", FILE)
    assert [record["ID"] for record in records] == ["toy-0", "toy-1"]
    assert records[0]["text"] == f"{start}\n\n### 入力:\n前提：甲\n\n### 応答:\nyes"
    assert records[1]["text"] == f"{start}\n\n### 応答:\n"
    assert list(records[0]) == ["ID", "instruction", "input", "output", "text"]


def test_test_is_never_among_the_tuning_files_and_dev_first100_is_the_first_100(tmp_path):
    many = TaskFile("a", 1, ("exact_match",), tuple(Sample(str(i), "x") for i in range(130)))
    paths = write_task_files(tmp_path, "toy", {"train": FILE, "dev": many, "test": FILE})
    assert set(paths) == set(p for p in tmp_path.rglob("*") if p.is_file())
    assert {p.parent.name for p in (tmp_path / "tuning").rglob("*.json")} == {"train", "dev", "dev_first100"}  # fmt: skip
    assert evaluation_path(tmp_path, "dev", "toy").read_bytes() == many.bytes()
    dev = json.loads(tuning_path(tmp_path, "dev", "toy").read_text())
    assert len(dev) == 130
    assert json.loads(tuning_path(tmp_path, "dev_first100", "toy").read_text()) == dev[:100]


@pytest.mark.parametrize(
    "fields",
    [{"instruction": ""}, {"output_length": 0}, {"metrics": ()}, {"samples": ()}],
)
def test_what_llm_jp_eval_refuses_to_save_is_refused(fields):
    values = {"instruction": "a", "output_length": 1, "metrics": ("m",), "samples": FILE.samples}
    with pytest.raises(UserError, match=next(iter(fields))):
        TaskFile(**values | fields)


def changed(**fields):
    content = json.loads(BYTES) | fields
    return {key: value for key, value in content.items() if value is not None}


SAMPLE = {"input": "a", "output": "b"}


@pytest.mark.parametrize(
    "content, said",
    [
        (changed(instruction=None), "no field instruction"),
        (changed(samples=None), "no field samples"),
        (changed(output_length="3"), "output_length = '3'"),
        (changed(output_length=True), "output_length = True"),
        (changed(output_length=0), "output_length = 0"),
        (changed(metrics=[1]), "metrics"),
        (changed(samples=[]), "empty samples"),
        (changed(samples=[SAMPLE, {"input": "a"}]), "sample 1 has no output, its gold answer"),
        (changed(samples=[SAMPLE, {"output": "a"}]), "sample 1 has no input"),
        (changed(samples=[{"input": "a", "output": None}]), "sample 0 has no output"),
        (changed(samples=[{"input": "a", "output": 3}]), "sample 0 has no output"),
        (changed(samples=[{"input": "a", "output": " "}]), "sample 0 has an empty output"),
        (changed(samples=[{"input": "a\ud83d", "output": "b"}]), "sample 0 has half a character"),
        (changed(samples=["a"]), "sample 0 must be an object"),
        ([], "one JSON object"),
    ],
)
def test_a_wrong_file_is_named_with_the_item_that_is_wrong(tmp_path, content, said):
    path = tmp_path / "jnli.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=said) as error:
        read_task_file(path)
    assert str(error.value).count(str(path)) == 1


def test_a_half_written_file_is_detected(tmp_path):
    path = tmp_path / "jnli.json"
    for cut in (1, 40, len(FILE.bytes()) - 1):
        path.write_bytes(FILE.bytes()[:cut])
        with pytest.raises(UserError, match=r"jnli.json is not (whole JSON \(line|UTF-8)"):
            read_task_file(path)


def test_a_file_that_is_not_there_says_what_writes_it(tmp_path):
    with pytest.raises(UserError, match="prepare_evaluation"):
        read_task_file(tmp_path / "jnli.json")
