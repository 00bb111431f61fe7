"""Raw files are found in a fixed order, once, and large ones are cut into parts."""

import pytest

from llmjp_jax.corpus.pipeline.splits import find_splits
from llmjp_jax.errors import UserError


def test_files_come_by_pattern_then_by_name_and_once(tmp_path):
    for name in ("b.jsonl", "a.jsonl", "sub/c.jsonl.gz", "d.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    found = find_splits(tmp_path, ["**/*.gz", "*.jsonl", "a.jsonl", "d.parquet"], None)
    assert [split.name for split in found] == ["sub/c.jsonl.gz", "a.jsonl", "b.jsonl", "d.parquet"]
    assert [split.reader for split in found] == ["jsonl", "jsonl", "jsonl", "parquet"]
    assert {(split.start, split.end) for split in found} == {(0, None)}


def test_plain_json_lines_are_cut_and_others_are_not(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"x" * 250)
    (tmp_path / "b.jsonl.gz").write_bytes(b"x" * 250)
    found = find_splits(tmp_path, ["*"], None, split_bytes=100)
    assert [(split.name, split.start, split.end, split.size) for split in found] == [
        ("a.jsonl", 0, 100, 100),
        ("a.jsonl", 100, 200, 100),
        ("a.jsonl", 200, 250, 50),
        ("b.jsonl.gz", 0, None, 250),
    ]


def test_absolute_paths_and_folders(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"x")
    (absolute,) = find_splits("elsewhere", [str(tmp_path / "a.jsonl")], None)
    assert absolute.path == str(tmp_path / "a.jsonl")
    (folder,) = find_splits(tmp_path, [str(tmp_path)], "python_files")
    assert (folder.path, folder.reader) == (str(tmp_path), "python_files")


def test_what_cannot_be_found_or_read_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"x")
    with pytest.raises(UserError, match=r"no file matches .*none.jsonl.*tools/download.py"):
        find_splits(tmp_path, ["none.jsonl"], None)
    with pytest.raises(UserError, match=r"a.txt: its name does not say what it holds"):
        find_splits(tmp_path, ["a.txt"], None)
    with pytest.raises(UserError, match="no reader xml; known are: jsonl"):
        find_splits(tmp_path, ["a.txt"], "xml")
