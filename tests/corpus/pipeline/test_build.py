"""A build: what comes out is what the steps leave, once, the same however it is cut, and never done twice."""

import hashlib
import json
from pathlib import Path

import orjson
import pytest

from llmjp_jax.corpus import split_of
from llmjp_jax.corpus.filters import FILTERS
from llmjp_jax.corpus.pipeline import Corpus, LocalExecutor, build_corpus
from llmjp_jax.errors import UserError

ONE = LocalExecutor(workers=1)


def web(**changes) -> Corpus:
    fields = {
        "name": "web",
        "inputs": ["*"],
        "steps": ["not_empty", ("is_japanese", {"lookup": 50})],
        "exact_deduplication": True,
        "validation_fraction": 0.1,
    }
    return Corpus(**{**fields, **changes})


def build(raw: Path, output: Path, *corpora: Corpus, **arguments):
    arguments = {"executor": ONE, **arguments}
    return build_corpus(
        input_dir=str(raw), output_dir=str(output), corpora=corpora or [web()], **arguments
    )


def documents(folder: Path, split: str) -> list[dict]:
    return [
        orjson.loads(line)
        for path in sorted(folder.glob(f"{split}_*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]


def contents(folder: Path) -> dict[str, str]:
    """sha256 of every file below, hidden ones included."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def rows_of(raw: Path) -> list[dict]:
    import gzip

    return [
        orjson.loads(line)
        for path in sorted(raw.iterdir())
        for line in (gzip.decompress if path.suffix == ".gz" else bytes)(path.read_bytes()).splitlines()
    ]  # fmt: skip


def test_the_documents_are_those_of_a_plain_loop(raw, tmp_path):
    build(raw, tmp_path / "out")
    expected, seen = {"train": [], "validation": []}, set()
    for row in rows_of(raw):
        text = row["text"]
        if not FILTERS["is_japanese"]({"text": text, "meta": {}}, lookup=50) or text in seen:
            continue
        seen.add(text)
        meta = {key: value for key, value in row.items() if key != "text"}
        expected[split_of(text, 0.1)].append({"text": text, "meta": meta})
    assert expected["validation"]
    for split, wanted in expected.items():
        assert documents(tmp_path / "out" / "web", split) == wanted


def test_near_duplicates_are_removed_too(raw, tmp_path):
    (statistics,) = build(raw, tmp_path / "out", web(near_deduplication={"threshold": 0.7}))
    steps = {step["step"]: step for step in statistics["steps"]}
    removed = steps["near duplicate"]["documents_in"] - steps["near duplicate"]["documents_out"]
    assert removed > 10
    texts = [d["text"] for split in ("train", "validation") for d in documents(tmp_path / "out" / "web", split)]  # fmt: skip
    assert len(texts) == steps["near duplicate"]["documents_out"]
    assert not [text for text in texts if text.removesuffix("終わり。") in set(texts) - {text} and len(text) > 100]  # fmt: skip


def test_statistics_agree_with_the_files(raw, tmp_path):
    (statistics,) = build(raw, tmp_path / "out", keep_dropped=True)
    folder = tmp_path / "out" / "web"
    assert json.loads((folder / "statistics.json").read_text()) == statistics
    read, *_, last = statistics["steps"]
    assert read["step"] == "read"
    assert read["documents_out"] == len(rows_of(raw))
    assert read["bytes_out"] == sum(len(row["text"].encode()) for row in rows_of(raw))
    left = documents(folder, "train") + documents(folder, "validation")
    assert last["documents_out"] == len(left)
    assert last["bytes_out"] == sum(len(one["text"].encode()) for one in left)
    for before, after in zip(statistics["steps"], statistics["steps"][1:], strict=False):
        assert after["documents_in"] == before["documents_out"]
    for output in statistics["outputs"]:
        path = folder / output["file"]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == output["sha256"]
        assert len(path.read_bytes().splitlines()) == output["documents"]
    dropped = [orjson.loads(line) for path in (folder / "dropped").rglob("*.jsonl") for line in path.read_bytes().splitlines()]  # fmt: skip
    assert len(dropped) + len(left) == len(rows_of(raw))
    assert {one["dropped_by"] for one in dropped} == {"is_japanese(lookup=50)", "exact duplicate"}
    assert sum(statistics["histograms"]["length"]["input"]) == len(rows_of(raw))
    assert sum(statistics["histograms"]["length"]["output"]) == len(left)
    assert "is_japanese" in (folder / "report.html").read_text()
    assert (tmp_path / "out" / "report.html").is_file()
    assert not list((tmp_path / "out").glob(".build/*"))


def test_parts_and_workers_change_no_document(raw, tmp_path):
    build(raw, tmp_path / "one")
    build(raw, tmp_path / "many", executor=LocalExecutor(workers=2), split_bytes=5000)
    for split in ("train", "validation"):
        one, many = (documents(tmp_path / name / "web", split) for name in ("one", "many"))
        assert one == many
    assert len(list((tmp_path / "many" / "web").glob("train_*.jsonl"))) > 10


def test_the_same_build_gives_the_same_bytes(raw, tmp_path):
    build(raw, tmp_path / "a", executor=LocalExecutor(workers=2), keep_dropped=True)
    build(raw, tmp_path / "b", keep_dropped=True)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_finished_build_is_not_done_again(raw, tmp_path, monkeypatch):
    first = build(raw, tmp_path / "out")
    before = contents(tmp_path / "out")
    monkeypatch.setattr(LocalExecutor, "run", lambda *_: pytest.fail("built again"))
    assert build(raw, tmp_path / "out") == first
    assert contents(tmp_path / "out") == before


def test_other_steps_or_other_files_are_built_and_replace_the_old(raw, tmp_path):
    build(raw, tmp_path / "out", split_bytes=5000)
    many = contents(tmp_path / "out")
    (raw / "c.jsonl").unlink()
    build(raw, tmp_path / "out", web(validation_fraction=0.0))
    files = contents(tmp_path / "out")
    assert len(files) < len(many)
    assert not [name for name in files if "validation" in name]
    build(raw, tmp_path / "fresh", web(validation_fraction=0.0))
    assert contents(tmp_path / "fresh") == files


def test_a_damaged_output_is_made_again(raw, tmp_path):
    build(raw, tmp_path / "out")
    before = contents(tmp_path / "out")
    next((tmp_path / "out" / "web").glob("train_*")).write_bytes(b"")
    build(raw, tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_folds_are_disjoint_and_validation_lies_in_the_first(raw, tmp_path):
    build(raw, tmp_path / "folds", web(folds=4))
    build(raw, tmp_path / "plain")
    folder = tmp_path / "folds" / "web"
    assert sorted(path.name for path in folder.glob("fold_*")) == [
        f"fold_{n:02d}" for n in range(4)
    ]
    parts = [documents(folder / f"fold_{n:02d}", "train") for n in range(4)]
    assert all(len(part) > 20 for part in parts)
    texts = [document["text"] for part in parts for document in part]
    plain = documents(tmp_path / "plain" / "web", "train")
    assert sorted(texts) == sorted(document["text"] for document in plain)
    assert documents(folder / "fold_00", "validation") == documents(
        tmp_path / "plain" / "web", "validation"
    )
    assert not documents(folder / "fold_01", "validation")


def test_documents_may_be_whole_already(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    rows = [{"text": "あ", "meta": {"id": 1}}, {"text": "い"}]
    (raw / "a.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    build(raw, tmp_path / "out", web(text_field=None, validation_fraction=0.0))
    assert documents(tmp_path / "out" / "web", "train") == [rows[0], {"text": "い", "meta": {}}]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "\xff"}', "line 2: the line is not JSON"),
        (b"{", "line 2: the line is not JSON"),
        (b'{"content": "a"}', "line 2: the record has no field 'text'"),
        (b'{"text": 3}', "line 2: the record: field 'text' is of type int"),
        (b'{"text": "abc", "meta": 3}', "line 2: the record: field 'meta' is of type int"),
    ],
)
def test_a_broken_record_stops_the_build_or_is_counted(tmp_path, line, reason):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.jsonl").write_bytes(
        '{"text": "あ"}\n'.encode() + line + '\n{"text": "い"}\n'.encode()
    )
    for workers in (1, 2):  # the error crosses processes
        with pytest.raises(UserError) as error:
            build(raw, tmp_path / "out", executor=LocalExecutor(workers=workers))
        assert f"{raw / 'a.jsonl'}, {reason}" in str(error.value)
        assert not list((tmp_path / "out").glob("web/*"))
    (statistics,) = build(raw, tmp_path / "out", web(validation_fraction=0.0), on_broken="skip")
    assert [one["text"] for one in documents(tmp_path / "out" / "web", "train")] == ["あ", "い"]
    assert statistics["broken"]["total"] == 1
    (example,) = statistics["broken"]["examples"]
    assert example["file"] == "a.jsonl"
    assert f"{example['position']}: {example['reason']}".startswith(reason)
    assert statistics["steps"][0]["documents_in"] == 3


def test_a_record_without_what_a_step_reads_is_named(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "a.jsonl").write_bytes(
        '{"text": "あ", "url": "http://a.jp/"}\n{"text": "い"}\n'.encode()
    )
    corpus = web(steps=["valid_domain"])
    with pytest.raises(UserError, match=r"a.jsonl, line 2: a document has no meta.url"):
        build(raw, tmp_path / "out", corpus)
    (statistics,) = build(raw, tmp_path / "out", corpus, on_broken="skip")
    assert statistics["broken"]["total"] == 1
    read, step, _ = statistics["steps"]
    assert (read["documents_in"], read["documents_out"]) == (2, 1)
    assert (step["documents_in"], step["documents_out"]) == (1, 1)


def test_corpora_of_like_names_keep_each_others_work(raw, tmp_path):
    output = tmp_path / "out"
    for name in ("x-web-0-0123456789abcdef", "web-0-0123456789abcdef", "web-2-0123456789abcdef"):
        (output / ".build" / name).mkdir(parents=True)
    build(raw, output)
    left = sorted(path.name for path in (output / ".build").iterdir())
    assert left == ["web-2-0123456789abcdef", "x-web-0-0123456789abcdef"]


def test_mistakes_in_the_arguments_are_named(raw, tmp_path):
    with pytest.raises(UserError, match="on_broken is 'skp'; give 'error' or 'skip'"):
        build(raw, tmp_path, on_broken="skp")
    with pytest.raises(UserError, match="each with its own name"):
        build(raw, tmp_path, web(), web())
    with pytest.raises(UserError, match=r"a corpus is named '\.\./a'"):
        web(name="../a")
    with pytest.raises(UserError, match=r"inputs is a text; write a list, as \['a.jsonl'\]"):
        web(inputs="a.jsonl")
    with pytest.raises(UserError, match="validation_fraction is 1"):
        web(validation_fraction=1)
    with pytest.raises(UserError, match="web: steps names the step nothing"):
        web(steps=["nothing"])
    with pytest.raises(UserError, match="workers is 0"):
        LocalExecutor(workers=0)


def test_nothing_left_is_a_corpus_too(raw, tmp_path):
    (statistics,) = build(raw, tmp_path / "out", web(steps=[("doc_length", {"low": 10**9})]))
    assert statistics["outputs"] == []
    assert statistics["steps"][-1]["documents_out"] == 0


def test_a_changed_word_list_is_another_build(raw, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = tmp_path / "words"
    words.write_text("nothing\n")
    corpus = web(steps=[("adult", {"limit": 0, "word_list": "words"})])
    (before,) = build(raw, tmp_path / "out", corpus)
    words.write_text("静かな\n")
    (after,) = build(raw, tmp_path / "out", corpus)
    assert after["steps"][-1]["documents_out"] < before["steps"][-1]["documents_out"]


def test_the_output_may_lie_in_the_input(raw):
    corpus = web(inputs=["**/*.jsonl"])
    first = build(raw, raw / "corpora", corpus)
    assert build(raw, raw / "corpora", corpus) == first
    assert first[0]["steps"][0]["documents_in"] == 240


def test_a_link_to_a_file_is_that_file(raw, tmp_path):
    (raw / "linked.jsonl").symlink_to(raw / "a.jsonl")
    (statistics,) = build(raw, tmp_path / "out")
    assert statistics["steps"][0]["documents_in"] == len(rows_of(raw)) - 120


def test_small_files_share_a_task(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for n in range(300):
        (raw / f"{n:03d}.jsonl").write_bytes(orjson.dumps({"text": f"あ{n}", "n": n}))
    build(raw, tmp_path / "out", web(validation_fraction=0.0))
    found = documents(tmp_path / "out" / "web", "train")
    assert [one["meta"]["n"] for one in found] == list(range(300))
    assert len(list((tmp_path / "out" / "web").glob("train_*"))) == 1
    (raw / "150.jsonl").write_bytes(b"{")
    with pytest.raises(UserError, match=r"150.jsonl, line 1: the line is not JSON"):
        build(raw, tmp_path / "out")


def test_foreign_fields_of_whole_documents_are_left_out(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    row = {"text": "あ", "meta": {"id": 1}, "paragraphs": [{"x": 1}], "other": 2}
    (raw / "a.jsonl").write_bytes(orjson.dumps(row))
    build(raw, tmp_path / "out", web(text_field=None, validation_fraction=0.0))
    assert documents(tmp_path / "out" / "web", "train") == [{"text": "あ", "meta": {"id": 1}}]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"near_deduplication": {"treshold": 0.8}}, "near_deduplication has treshold.*did you mean threshold"),
        ({"near_deduplication": {"threshold": 2}}, "threshold"),
        ({"paragraph_statistics": {"shift": 3}}, "paragraph_statistics has shift"),
        ({"reader_options": {"stat": 3}}, "reader_options has stat.*did you mean start"),
        ({"reader": "warc", "reader_options": {"language": ["ja"]}}, "did you mean languages"),
        ({"reader": "tatoeba"}, "reader_options lacks language"),
        ({"inputs": []}, "inputs is empty"),
        ({"steps": "not_empty"}, r"steps is a text; write a list, as \['not_empty'\]"),
        ({"steps": [("adult", {"limit": "3"})]}, "adult: limit is '3'; it must be a number"),
        ({"name": "./web"}, "write 'web'"),
    ],
)  # fmt: skip
def test_a_mistyped_setting_is_named_before_anything_is_read(raw, tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as error:
        build(raw, tmp_path / "out", web(**changes))
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "out").rglob("*.jsonl"))


def test_parts_of_no_bytes_are_refused(raw, tmp_path):
    with pytest.raises(UserError, match="split_bytes is 0"):
        build(raw, tmp_path / "out", split_bytes=0)
