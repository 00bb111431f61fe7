"""Parquet: every row with its position; what cannot be read is named, and the rest is read all the same."""

import pyarrow as pa
import pytest
from pyarrow import parquet

from llmjp_jax.corpus.readers import BrokenRecord, read_raw, reader_of
from llmjp_jax.corpus.readers.parquet import read_parquet
from llmjp_jax.errors import UserError

ROWS = [{"text": f"文{n}", "meta": {"id": n, "tags": ["a", None]}} for n in range(2500)]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "wiki.parquet"
    parquet.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=1100)
    return path


def test_rows_come_in_order_with_their_positions(path):
    assert reader_of(path) == "parquet"
    found = list(read_raw(path, "parquet"))
    assert [record for _, record in found] == ROWS
    assert [position for position, _ in found] == [f"row {n}" for n in range(1, 2501)]


def test_progress_is_the_files_size(path):
    read = []
    list(read_parquet(path, progress=read.append))
    assert sum(read) == path.stat().st_size and len(read) == 4


def test_only_the_columns_asked_for_are_read(path):
    assert next(read_parquet(path, columns=["text"])) == ("row 1", {"text": "文0"})
    with pytest.raises(UserError, match="has no column title; it has: text, meta"):
        next(read_parquet(path, columns=["title"]))


def test_memory_holds_a_part_of_the_file(tmp_path):
    path = tmp_path / "large.parquet"
    table = pa.table({"text": [f"{n:06}" + "x" * 994 for n in range(5_000)]})
    with parquet.ParquetWriter(path, table.schema, compression="none", use_dictionary=False) as writer:  # fmt: skip
        for _ in range(20):
            writer.write_table(table)
    assert path.stat().st_size > 100_000_000
    before = pa.total_allocated_bytes()
    most = max(pa.total_allocated_bytes() for _ in read_parquet(path)) - before
    assert most < 30_000_000


def test_an_empty_file_and_one_without_its_end_are_broken(path, tmp_path):
    empty = tmp_path / "empty.parquet"
    empty.touch()
    [(position, record)] = read_parquet(empty)
    assert position == "byte 0" and isinstance(record, BrokenRecord)
    assert "empty.parquet, byte 0: the file is empty" in str(record)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    [(position, record)] = read_parquet(path)
    assert isinstance(record, BrokenRecord) and record.position == position
    assert "wiki.parquet, byte" in str(record) and "no whole Parquet file" in str(record)


def test_a_damaged_row_group_costs_itself_alone(path):
    metadata = parquet.ParquetFile(path).metadata
    chunk = metadata.row_group(1).column(0)
    begin = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    content[begin : begin + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(content)
    found = list(read_parquet(path))
    broken = [(position, record) for position, record in found if isinstance(record, BrokenRecord)]
    assert [position for position, _ in broken] == ["row 1101"]
    assert "rows 1101 to 2200 cannot be read" in str(broken[0][1])
    assert [record for _, record in found if not isinstance(record, BrokenRecord)] == ROWS[:1100] + ROWS[2200:]  # fmt: skip
    assert found[-1] == ("row 2500", ROWS[-1])


def test_a_text_that_is_not_utf8_costs_its_row_alone(tmp_path):
    path = tmp_path / "sjis.parquet"
    texts = ["一".encode(), "二".encode("shift_jis"), "三".encode()]
    array = pa.Array.from_buffers(pa.string(), 3, pa.array(texts, pa.binary()).buffers())
    parquet.write_table(pa.table({"text": array}), path)
    first, second, third = read_parquet(path)
    assert first == ("row 1", {"text": "一"}) and third == ("row 3", {"text": "三"})
    assert second[0] == "row 2" and "row 2: a text is not UTF-8" in str(second[1])
