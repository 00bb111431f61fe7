"""Each set's own record form becomes one of three shapes; what is held out is what LLM-jp held out."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmjp_jax.corpus.tuning_records import held_out_indices, prepare_tuning_set, read_records_of
from llmjp_jax.corpus.tunings import load_tuning_set
from llmjp_jax.errors import UserError


def write(path, records):
    """A JSON list for `.json`, else JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text(json.dumps(records, ensure_ascii=False, indent=4), encoding="utf-8")
    else:
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def prepared(name, tmp_path, records, file):
    """The lines of `train` that a set's records become."""
    write(tmp_path / "downloads" / file, records)
    found = prepare_tuning_set(load_tuning_set(name), tmp_path / "downloads", tmp_path / "out")
    lines = (tmp_path / "out" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    assert found["train"].records == len(lines)
    return [json.loads(line) for line in lines]


HUMAN, ANSWER = {"from": "human", "value": "問い"}, {"from": "gpt", "value": "答え"}
TURNS = [{"role": "user", "content": "問い"}, {"role": "assistant", "content": "答え"}]


@pytest.mark.parametrize(
    "name, file, record, shape",
    [
        ("dolly_ja", "dolly_ja/databricks-dolly-15k-ja.jsonl",
         {"instruction": "問い", "context": "文脈", "response": "答え", "category": "qa"},
         {"instruction": "問い", "input": "文脈", "output": "答え"}),
        ("ichikara_003_001", "ichikara/x/ichikara-instruction-003-001-2.1.json",
         {"ID": "ichikara-1", "text": "問い", "output": "答え"}, {"instruction": "問い", "input": "", "output": "答え"}),
        ("answer_carefully_001", "answer_carefully/AnswerCarefullyVersion001_Dev.json",
         {"ID": "ac-1", "text": "問い", "output": "答え"}, {"instruction": "問い", "input": "", "output": "答え"}),
        ("oasst1_ja", "oasst1_ja/oasst1-21k-ja.jsonl", {"conversations": [HUMAN, ANSWER]}, {"messages": TURNS}),
        ("oasst2_ja", "oasst2_ja/oasst2-33k-ja.jsonl", {"ID": "1", "conversations": TURNS}, {"messages": TURNS}),
    ],
)  # fmt: skip
def test_a_set_is_read_in_its_own_form(tmp_path, name, file, record, shape):
    assert prepared(name, tmp_path, [record], file) == [shape]


def test_jaster_is_read_from_llm_jp_evals_files_and_its_first_100_of_dev_validate(tmp_path):
    jaster = load_tuning_set("jaster")
    for pattern in (*jaster.train, *jaster.validation):
        split, file = pattern.split("/")[-2:]
        record = {"ID": "x-0", "instruction": f"{split} {file}", "input": "", "output": "1", "text": "unused"}  # fmt: skip
        write(tmp_path / "jaster" / "1.3.0" / "tuning" / split / file, [record])
    found = prepare_tuning_set(jaster, tmp_path, tmp_path / "out")
    assert {split: each.records for split, each in found.items()} == {"train": 10, "validation": 10}
    first = json.loads(found["validation"].path.read_text().splitlines()[0])
    assert first == {"instruction": "dev_first100 jamp.json", "input": "", "output": "1"}


def test_the_pairs_held_out_are_those_of_hugging_faces_split(tmp_path):
    # datasets 2.16, Dataset.train_test_split(test_size=0.1, seed=42) of 20 rows.
    pairs = [{"ID": str(i), "conversations": [HUMAN], "chosen": f"{i} 良い", "rejected": f"{i} 悪い"} for i in range(20)]  # fmt: skip
    trained = prepared("hh_rlhf_ja", tmp_path, pairs, "hh_rlhf_ja/hh-rlhf-12k-ja.jsonl")
    lines = (tmp_path / "out" / "validation.jsonl").read_text().splitlines()
    held_out = [int(json.loads(line)["chosen"].split()[0]) for line in lines]
    assert held_out == held_out_indices(20, 0.1, 42) and len(trained) == 18
    assert trained[0] == {"messages": TURNS[:1], "chosen": "0 良い", "rejected": "0 悪い"}
    assert len(held_out_indices(12_000, 0.1, 42)) == 1_200
    assert held_out_indices(10, 0.15, 42) == [
        5,
        6,
    ]  # rounded up, from the front of default_rng(42)'s permutation


def test_records_without_an_answer_are_left_out_and_named(tmp_path):
    records = [{"conversations": [HUMAN, ANSWER]}, {"conversations": [HUMAN, ANSWER | {"value": " "}]},
               {"conversations": [HUMAN]}, {"conversations": [HUMAN, ANSWER, HUMAN]}]  # fmt: skip
    write(tmp_path / "oasst1_ja" / "oasst1-21k-ja.jsonl", records)
    found = prepare_tuning_set(load_tuning_set("oasst1_ja"), tmp_path, tmp_path / "out")["train"]
    assert found.records == 1
    assert [place.rsplit(", ")[-1] for place in found.left_out] == ["line 2", "line 3", "line 4"]


def test_what_is_held_out_does_not_depend_on_what_is_left_out(tmp_path):
    pairs = [{"conversations": [HUMAN], "chosen": f"{i}", "rejected": "x"} for i in range(20)]
    chosen = held_out_indices(20, 0.1, 42)
    pairs[next(i for i in range(20) if i not in chosen)]["chosen"] = ""
    prepared("hh_rlhf_ja", tmp_path, pairs, "hh_rlhf_ja/hh-rlhf-12k-ja.jsonl")
    lines = (tmp_path / "out" / "validation.jsonl").read_text().splitlines()
    assert [int(json.loads(line)["chosen"]) for line in lines] == chosen


def test_a_second_run_touches_nothing_and_a_change_is_written(tmp_path):
    def run(turns):
        write(tmp_path / "oasst1_ja" / "oasst1-21k-ja.jsonl", [{"conversations": turns}])
        path = prepare_tuning_set(load_tuning_set("oasst1_ja"), tmp_path, tmp_path)["train"].path
        return path.stat().st_mtime_ns

    first = run([HUMAN, ANSWER])
    assert run([HUMAN, ANSWER]) == first != run([HUMAN, ANSWER] * 2)


def test_json_lines_a_json_list_and_parquet_are_read_alike(tmp_path):
    records = [{"text": "問い", "output": "答え"}, {"text": "a", "output": "b"}]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "a.parquet")
    lines = write(tmp_path / "a.jsonl", records)
    (tmp_path / "lines.json").write_bytes(lines.read_bytes())
    for path in (tmp_path / "a.parquet", lines, tmp_path / "lines.json", write(tmp_path / "list.json", records)):  # fmt: skip
        assert [record for _, record in read_records_of(path)] == records
    (tmp_path / "bom.json").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "list.json").read_bytes())
    assert [record for _, record in read_records_of(tmp_path / "bom.json")] == records


@pytest.mark.parametrize(
    "name, record, message",
    [
        ("dolly_en", {"instruction": "a", "context": "b"}, "line 2 has no field 'response'; it has instruction, context"),
        ("dolly_en", {"instruction": "a", "context": None, "response": "c"}, "line 2: field 'context' is of type NoneType"),
        ("dolly_en", [1], "line 2: the line is not a JSON object"),
        ("oasst1_en", {"conversations": []}, "line 2: field 'conversations' must be a list of turns"),
        ("oasst1_en", {"conversations": [HUMAN, "x"]}, "line 2, turn 2 is not a JSON object"),
        ("oasst1_en", {"conversations": [HUMAN | {"from": "bot"}]}, "line 2, turn 1: from = 'bot' is none of human"),
        ("oasst1_en", {"conversations": [{"role": "user"}]}, "line 2, turn 1 has no field 'content'"),
    ],
)  # fmt: skip
def test_a_record_that_is_not_of_the_sets_form_is_named(tmp_path, name, record, message):
    good = {"instruction": "a", "context": "b", "response": "c", "conversations": [HUMAN, ANSWER]}
    file = "databricks-dolly-15k.jsonl" if name == "dolly_en" else "oasst1-21k-en.jsonl"
    write(tmp_path / name / file, [good, record])
    with pytest.raises(UserError, match=f"{file}, {message}".replace("(", r"\(")):
        prepare_tuning_set(load_tuning_set(name), tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_cut_off_is_named(tmp_path):
    path = write(tmp_path / "a.json", [{"text": "a", "output": "b"}])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"a\.json is not JSON"):
        list(read_records_of(path))
    lines = write(tmp_path / "a.jsonl", [{"text": "a"}])
    lines.write_bytes(lines.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"a\.jsonl, line 1: the line is not JSON"):
        list(read_records_of(lines))


def test_a_lone_surrogate_is_refused(tmp_path):
    path = tmp_path / "oasst1_en" / "oasst1-21k-en.jsonl"
    path.parent.mkdir()
    path.write_bytes(b'{"conversations": [{"from": "human", "value": "\\ud800"}]}\n')
    with pytest.raises(UserError, match=r"oasst1-21k-en\.jsonl, line 1"):
        prepare_tuning_set(load_tuning_set("oasst1_en"), tmp_path, tmp_path / "out")


def test_nothing_is_written_where_one_of_two_splits_is_bad(tmp_path):
    jaster = load_tuning_set("jaster")
    for pattern in (*jaster.train, *jaster.validation):
        split, file = pattern.split("/")[-2:]
        record = {"instruction": "x", "input": "", "output": "1" if split != "train" else 1}
        write(tmp_path / "jaster" / "tuning" / split / file, [record])
    with pytest.raises(
        UserError, match=r"train/jamp\.json, record 1: field 'output' is of type int"
    ):
        prepare_tuning_set(jaster, tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
