"""Tasks that llm-jp-eval 1.4 added: the official hash of commonsensemoralja, and kuci and mbpp on records made for the test."""

import hashlib
import json

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.metrics import score
from llmjp_jax.evaluation.preparation import PREPARERS
from llmjp_jax.evaluation.task_files import Sample, TaskFile
from llmjp_jax.evaluation.tasks import find_task, select_tasks


def test_the_dev_file_of_commonsensemoralja_has_the_official_hash_of_1_4_1(shared_data):
    task = find_task("commonsensemoralja")
    splits = PREPARERS[task.name](shared_data / "evaluation" / "raw" / "commonsensemoralja")
    file = TaskFile(task.instruction, task.output_length, task.metrics, tuple(splits.dev))
    assert hashlib.sha256(file.bytes()).hexdigest() == task.official_sha256["1.4.1"]


def test_train_and_test_of_commonsensemoralja_are_shuffled_afresh_like_dev(tmp_path):
    rows = "".join(f"{n},文{n},{n % 2}\n" for n in range(20))
    for split in ("train", "val", "test"):
        (tmp_path / f"data_{split}.csv").write_text(f",sent,label\n{rows}", encoding="utf-8")
    splits = PREPARERS["commonsensemoralja"](tmp_path)
    assert splits.train == splits.dev == splits.test
    assert splits.train != sorted(splits.train, key=lambda s: int(s.input[4:]))


def kuci_problem(**changes) -> str:
    problem = {"id": 0, "context": "電池 の 減り は 早い ので 、", "choice_a": "装置 は 実現 し ませ ん", "choice_b": "お 届け です",
               "choice_c": "手動 停止 する", "choice_d": "ＵＳＢ ケーブル 買い ます", "label": "d"}  # fmt: skip
    return json.dumps(problem | changes, ensure_ascii=False) + "\n"


def test_a_kuci_sample_joins_the_words_and_answers_with_a_number(tmp_path):
    for split in ("train", "dev", "test"):
        lines = kuci_problem() + kuci_problem(context=f"{split} の 次")
        (tmp_path / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    splits = PREPARERS["kuci"](tmp_path)
    asked = "文脈：電池の減りは早いので、\n選択肢：0.装置は実現しません,1.お届けです,2.手動停止する,3.ＵＳＢケーブル買います"
    assert splits.dev[0] == Sample(asked, "3")
    assert [s[1].input[3:].split("の")[0] for s in (splits.train, splits.dev, splits.test)] == ["train", "dev", "test"]  # fmt: skip


def test_a_kuci_label_that_is_no_choice_is_named_with_its_line(tmp_path):
    for split in ("train", "dev", "test"):
        (tmp_path / f"{split}.jsonl").write_text(kuci_problem() + kuci_problem(label="e"))
    with pytest.raises(UserError, match="train.jsonl, line 2: label = 'e' must be one of"):
        PREPARERS["kuci"](tmp_path)


def mbpp(tmp_path, *task_ids, setup="", test="assert add(1, 2) == 3"):
    problems = [
        {"task_id": n, "text_jpn": f"足し算の関数 add を書きなさい。{n}", "code": "def add(a, b): return a + b",
         "test_setup_code": setup, "test_list": [test, "assert add(0, 0) == 0"]}
        for n in task_ids
    ]  # fmt: skip
    lines = "".join(json.dumps(problem, ensure_ascii=False) + "\n" for problem in problems)
    (tmp_path / "mbpp_translation.jsonl").write_text(lines, encoding="utf-8")
    return PREPARERS["mbpp"](tmp_path)


def test_mbpp_keeps_its_own_splits_and_leaves_out_the_problems_for_prompts(tmp_path):
    splits = mbpp(tmp_path, 1, 10, 11, 510, 511, 600, 601, 974)
    ends = [[s.input.split("。")[1].split("\n")[0] for s in split] for split in (splits.train, splits.dev, splits.test)]  # fmt: skip
    assert ends == [["601", "974"], ["511", "600"], ["11", "510"]]


def test_the_gold_answer_of_mbpp_is_the_tests_after_what_they_need(tmp_path):
    (sample,) = mbpp(tmp_path, 11, setup="one = 1", test="assert add(one, 2) == 3").test
    assert (
        sample.input
        == "足し算の関数 add を書きなさい。11\nassert add(one, 2) == 3\nassert add(0, 0) == 0"
    )
    assert sample.output == "one = 1\nassert add(one, 2) == 3\nassert add(0, 0) == 0"


def test_code_exec_tells_a_right_program_of_mbpp_from_a_wrong_one(tmp_path):
    (sample,) = mbpp(tmp_path, 11).test
    programs = ["def add(a, b):\n    return a + b", "def add(a, b):\n    return a * b"]
    assert score("code_exec", programs, [sample.output] * 2, run_code=True).items == (1.0, 0.0)


def test_mbpp_is_evaluated_only_by_name(tmp_path):
    assert "mbpp" not in {task.name for task in select_tasks("all-1.4")}
    assert "kuci" in {task.name for task in select_tasks("all-1.4")}
