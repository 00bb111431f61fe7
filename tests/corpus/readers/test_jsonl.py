"""JSON lines: every record once, however the file is packed or parted; what is broken is named with its place."""

import bz2
import gzip
import random
import zlib

import orjson
import pytest
import zstandard

from llmjp_jax.corpus.readers import jsonl
from llmjp_jax.corpus.readers.broken import BrokenRecord
from llmjp_jax.corpus.readers.jsonl import read_jsonl

RECORDS = [{"text": "あ" * (n % 7) + f"\u2028 {n}", "n": n} for n in range(1000)]
LINES = b"".join(orjson.dumps(record) + b"\n" for record in RECORDS)
PACKED = {
    "a.jsonl": LINES,
    "a.jsonl.gz": gzip.compress(LINES),
    "b.jsonl.gz": gzip.compress(LINES[:500]) + gzip.compress(LINES[500:]),
    "a.jsonl.zst": zstandard.compress(LINES),
    "b.jsonl.zst": zstandard.compress(LINES[:500]) + zstandard.compress(LINES[500:]),
    "a.jsonl.bz2": bz2.compress(LINES),
    "unfinished.jsonl": LINES[:-1],
}


@pytest.mark.parametrize("name", PACKED)
def test_every_record_comes_once_with_its_line(tmp_path, name):
    (tmp_path / name).write_bytes(PACKED[name])
    assert list(read_jsonl(tmp_path / name)) == [
        (f"line {number}", record) for number, record in enumerate(RECORDS, 1)
    ]


def test_parts_of_a_file_hold_every_record_once(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES)
    choice = random.Random(0)
    for _ in range(50):
        cuts = sorted(choice.sample(range(1, len(LINES)), 4))
        bounds = [0, *cuts, len(LINES)]
        parts = [
            [record for _, record in read_jsonl(path, start=start, end=end)]
            for start, end in zip(bounds, bounds[1:], strict=False)
        ]
        assert sum(parts, []) == RECORDS
    boundary = LINES.index(b"\n") + 1  # exactly where the second line begins
    assert len(list(read_jsonl(path, start=0, end=boundary))) == 1
    assert len(list(read_jsonl(path, start=boundary))) == len(RECORDS) - 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": ', "is not JSON"),
        (b'{"text": "\xff"}', "is not JSON"),
        ('{"text": "日本語"}'.encode("cp932"), "is not JSON"),
        (b'{"text": "\\ud800"}', "is not JSON"),
        (b"", "the line is empty"),
        (b'["text"]', "not a JSON object"),
    ],
)
def test_a_broken_line_is_named_and_reading_goes_on(tmp_path, line, reason):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 1}\n{"n": 2}\n' + line + b'\n{"n": 4}\n')
    for start in (0, 9):  # also in a part that begins later: the line counts from the file's start
        found = list(read_jsonl(path, start=start))
        *_, broken, (_, last) = [found[-2][1], found[-1]]
        assert last == {"n": 4}
        assert isinstance(broken, BrokenRecord)
        assert (broken.file, broken.position) == (str(path), "line 3")
        assert reason in broken.reason
        assert str(broken).startswith(f"{path}, line 3: ")


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.jsonl.bz2"])
@pytest.mark.parametrize("cut", [1, 9, 300])
def test_a_truncated_file_gives_its_whole_lines_and_then_says_so(tmp_path, name, cut):
    path = tmp_path / name
    path.write_bytes(PACKED[name][:-cut])
    *records, (_, last) = read_jsonl(path)
    assert isinstance(last, BrokenRecord)
    assert "ends too early" in last.reason
    assert last.position == f"after line {len(records)}"
    assert [record for _, record in records] == RECORDS[: len(records)]
    readable = whole_lines(PACKED[name][:-cut], name)
    assert len(records) == readable
    if name.endswith(".gz"):
        assert readable > 900  # nothing that can be had is lost


def whole_lines(data: bytes, name: str) -> int:
    """How many lines the libraries themselves get out of a truncated file."""
    decompressor = {
        ".gz": lambda: zlib.decompressobj(31),
        ".bz2": bz2.BZ2Decompressor,
        ".zst": zstandard.ZstdDecompressor().decompressobj,
    }[name[name.rindex(".") :]]()
    return decompressor.decompress(data).count(b"\n")


def test_many_broken_lines_far_in_a_file_take_no_longer_each(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES + b"broken\n" * 50)
    calls = []
    count = jsonl._newlines
    monkeypatch.setattr(jsonl, "_newlines", lambda *a: calls.append(a) or count(*a))
    broken = [one for _, one in read_jsonl(path, start=10) if isinstance(one, BrokenRecord)]
    assert [one.position for one in broken] == [f"line {n}" for n in range(1001, 1051)]
    assert len(calls) == 1


def test_a_line_of_many_blocks_is_whole(tmp_path):
    text = "".join(chr(0x3041 + n % 80) for n in range(2_000_000))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(orjson.dumps({"text": text})))
    ((_, record),) = read_jsonl(tmp_path / "a.jsonl.gz")
    assert record == {"text": text}


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "packed.jsonl.gz"])
def test_an_empty_file_is_named(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(b"") if name.startswith("packed") else b"")
    ((position, broken),) = read_jsonl(tmp_path / name)
    assert (position, broken.reason) == ("byte 0", "the file is empty")


def test_a_file_that_is_not_compressed_is_named(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(LINES)
    ((_, broken),) = read_jsonl(tmp_path / "a.jsonl.gz")
    assert "cannot be decompressed" in broken.reason


@pytest.mark.parametrize("name", PACKED)
def test_progress_adds_up_to_the_file(tmp_path, name):
    (tmp_path / name).write_bytes(PACKED[name])
    seen = []
    list(read_jsonl(tmp_path / name, progress=seen.append))
    assert sum(seen) == len(PACKED[name])


def test_a_broken_record_survives_the_way_between_processes():
    import pickle

    broken = pickle.loads(pickle.dumps(BrokenRecord("a.jsonl", "line 3", "is bad")))
    assert (broken.file, broken.position, broken.reason) == ("a.jsonl", "line 3", "is bad")
