"""Real raw data: files equal the reference's, dev files have the official hashes, and the rules hold where there is no reference."""

import csv
import hashlib
import json
import random
import re
from pathlib import Path

import pytest

from llmjp_jax.evaluation.preparation import prepare_task
from llmjp_jax.evaluation.task_files import SPLITS, tuning_path, write_task_files
from llmjp_jax.evaluation.tasks import find_task

GOLDEN = Path(__file__).resolve().parents[3] / "shared/data/evaluation/golden/processed"
REFERENCE = sorted(path.stem for path in GOLDEN.glob("*.json")) or ["none"]


@pytest.fixture(scope="module")
def raw(shared_data) -> Path:
    return shared_data / "evaluation/raw"


def shuffled(items):
    random.seed(42)
    items = list(items)
    random.shuffle(items)
    return items


def pairs(samples):
    return [(sample.input, sample.output) for sample in samples]


def prepared(name, raw):
    return {
        split: pairs(file.samples) for split, file in prepare_task(find_task(name), raw).items()
    }


@pytest.mark.parametrize("name", REFERENCE)
def test_the_files_equal_the_reference(name, raw, tmp_path):
    reference = json.loads((GOLDEN / f"{name}.json").read_text())
    files = prepare_task(find_task(name), raw)
    write_task_files(tmp_path, name, files)
    for split in SPLITS:
        wanted = reference["splits"][split]
        written = (tmp_path / f"evaluation/{split}/{name}.json").read_bytes()
        content = json.loads(written)
        assert list(content) == wanted["key_order"]
        assert content["samples"][: len(wanted["samples"])] == wanted["samples"]
        for field in ("instruction", "output_length", "metrics", "few_shots"):
            assert content[field] == wanted[field]
        assert len(content["samples"]) == wanted["n_samples"]
        assert hashlib.sha256(written).hexdigest() == wanted["sha256_of_complete_file"]
    tuning = {split: json.loads(tuning_path(tmp_path, split, name).read_text()) for split in reference["tuning_n"]}  # fmt: skip
    assert {split: len(records) for split, records in tuning.items()} == reference["tuning_n"]
    assert tuning["train"][:2] == reference["tuning_train_first2"]


@pytest.mark.parametrize("name", ["jemhopqa", "jmmlu", "mawps", "niilc"])
def test_complete_raw_data_gives_the_official_dev_file(name, raw):
    task = find_task(name)
    files = prepare_task(task, raw)
    assert hashlib.sha256(files["dev"].bytes()).hexdigest() == task.official_sha256["1.3.1"]
    assert tuple(len(files[split].samples) for split in SPLITS) == task.samples


@pytest.mark.parametrize(
    "name, train, test, columns",
    [("jamp", "train_all.tsv", "test_2.tsv", (1, 2, 3)), ("jsick", "train.tsv", "test.tsv", (8, 9, 10))],
)  # fmt: skip
def test_a_table_with_a_test_has_its_train_shuffled_and_cut_at_nine_tenths(
    name, train, test, columns, raw
):
    def read(file):
        rows = [line.split("\t") for line in (raw / name / file).read_text().splitlines()[1:]]
        a, b, label = columns
        return [(f"前提：{row[a]}\n仮説：{row[b]}", row[label]) for row in rows]

    found, whole = prepared(name, raw), read(train)
    assert found["train"] + found["dev"] == shuffled(whole)
    assert len(found["train"]) == len(whole) * 9 // 10
    assert found["test"] == read(test)


def test_jsem_keeps_the_four_answers_joins_premises_and_splits_80_10_10(raw):
    texts = [path.read_text() for path in sorted((raw / "jsem").glob("*.xml"))]
    answers = re.findall(r'<problem[^>]*?answer="(\w*)"', "".join(texts), re.S)
    kept = [answer for answer in answers if answer in ("yes", "no", "unknown", "undef")]
    found = prepared("jsem", raw)
    everything = sum(found.values(), [])
    assert sorted(answer for _, answer in everything) == sorted(kept)
    assert len(kept) < len(answers)
    sizes = [len(found[split]) for split in SPLITS]
    assert sizes == [int(len(kept) * 0.8), int(len(kept) * 0.9) - int(len(kept) * 0.8), len(kept) - int(len(kept) * 0.9)]  # fmt: skip
    problem = next(p for p in re.findall("<problem.*?</problem>", texts[0], re.S) if p.count("<p ") > 1)  # fmt: skip
    scripts = [text.strip() for text in re.findall("<script>(.*?)</script>", problem, re.S)]
    assert f"前提：{''.join(scripts[:-1])}\n仮説：{scripts[-1]}" in [
        given for given, _ in everything
    ]


def test_jsts_answers_with_the_number_as_python_writes_it(raw):
    found = prepared("jsts", raw)
    records = [json.loads(line) for line in (raw / "jsts/valid-v1.1.json").read_text().splitlines()]
    assert found["test"] == [
        (f"文1：{r['sentence1']}\n文2：{r['sentence2']}", str(r["label"])) for r in records
    ]
    assert all(re.fullmatch(r"\d\.\d+", answer) for _, answer in sum(found.values(), []))


def test_niilc_joins_answers_by_commas_and_leaves_out_a_lone_dash(raw):
    found = prepared("niilc", raw)
    answers = [answer for _, answer in sum(found.values(), [])]
    assert "-" not in answers and any("," in answer for answer in answers)
    assert not any(answer.startswith(",") or ",," in answer for answer in answers)


def test_jmmlu_puts_every_question_into_one_split(raw):
    rows = []
    for path in (raw / "jmmlu").glob("*.csv"):
        with path.open(encoding="utf-8-sig") as file:
            rows += list(csv.reader(file))
    form = "質問：{}\n選択肢：A.{},B.{},C.{},D.{}".format
    everything = sum(prepared("jmmlu", raw).values(), [])
    assert sorted(everything) == sorted((form(*row[:5]), row[5]) for row in rows)


def test_mawps_keeps_the_worked_examples_in_order_and_halves_the_test(raw):
    found = prepared("mawps", raw)
    zero = json.loads((raw / "mawps/zero_shot_example.json").read_text())
    first = zero[0]["shot_example"]
    assert found["train"][0] == (first.split("\n")[0], first.split("答えは")[1].split("です")[0])
    assert [given for given, _ in found["train"][:8]] == [r["shot_example"].split("\n")[0] for r in zero]  # fmt: skip
    pool = json.loads((raw / "mawps/test.json").read_text())
    order = [given for given, _ in found["dev"] + found["test"]]
    assert order == [r["question"].split("\n")[0] for r in shuffled(pool)]
    assert len(found["dev"]) == len(found["test"]) == 500
