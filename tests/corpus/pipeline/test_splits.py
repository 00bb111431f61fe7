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
    assert [split.options for split in found] == [{}] * 4


def test_plain_json_lines_and_dumps_are_cut_and_others_are_not(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"x" * 250)
    for name in ("b.jsonl.gz", "c.xml.bz2"):
        (tmp_path / name).write_bytes(b"x" * 900)
    found = find_splits(tmp_path, ["*"], None, split_bytes=100)
    assert [(split.name, split.options, split.size) for split in found] == [
        ("a.jsonl", {"start": 0, "end": 100}, 100),
        ("a.jsonl", {"start": 100, "end": 200}, 100),
        ("a.jsonl", {"start": 200, "end": 250}, 50),
        ("b.jsonl.gz", {}, 900),
        ("c.xml.bz2", {"part": 0, "parts": 3}, 300),
        ("c.xml.bz2", {"part": 1, "parts": 3}, 300),
        ("c.xml.bz2", {"part": 2, "parts": 3}, 300),
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
