"""Raw records from Parquet: one row group after another, so memory does not grow with the file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from llmjp_jax.corpus.readers.broken import BrokenRecord
from llmjp_jax.errors import UserError

_BATCH_ROWS = 1_000
_BUFFER_BYTES = 1 << 20


def read_parquet(
    path: str | os.PathLike,
    *,
    columns: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[str, dict[str, Any] | BrokenRecord]]:
    """Yields (position, record) of each row, in order, a record being column -> Python value; positions are `row 1`, ...

    A row that cannot be read, such as one whose text is not UTF-8, comes as (position, `BrokenRecord`). Of a row group whose
    bytes are damaged what comes before the damage is read; one `BrokenRecord` stands for the rest, and reading goes on with
    the next group. An empty file, or one without its footer (cut off), is one `BrokenRecord`.

    Args:
      columns: only these.
      progress: called with the number of bytes of the file that were read since the last call.

    Raises:
      UserError: a name of `columns` is not in the file.
    """
    import pyarrow
    from pyarrow import parquet

    path, done = Path(path), 0
    size = path.stat().st_size
    progress = progress or (lambda count: None)
    if size == 0:
        yield "byte 0", BrokenRecord(path, "byte 0", "the file is empty")
        return
    try:
        file = parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    except (pyarrow.ArrowException, OSError) as error:
        reason = f"it is no whole Parquet file, whose end says what it holds ({_line(error)})"
        yield f"byte {size}", BrokenRecord(path, f"byte {size}", reason)
        progress(size)
        return
    with file:
        _check_columns(path, file.schema_arrow.names, columns)
        first = 1
        for index in range(file.num_row_groups):
            group = file.metadata.row_group(index)
            yield from _rows(path, file, index, first, group.num_rows, columns)
            first += group.num_rows
            read = sum(group.column(i).total_compressed_size for i in range(group.num_columns))
            progress(read)
            done += read
    progress(size - done)  # the footer


def _rows(
    path: Path, file: Any, group: int, first: int, count: int, columns: Sequence[str] | None
) -> Iterator[tuple[str, dict[str, Any] | BrokenRecord]]:
    import pyarrow

    row = first
    batches = file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False)  # fmt: skip
    while True:
        try:
            batch = next(batches, None)
        except (pyarrow.ArrowException, OSError) as error:
            reason = f"rows {row} to {first + count - 1} cannot be read ({_line(error)})"
            yield f"row {row}", BrokenRecord(path, f"row {row}", reason)
            return
        if batch is None:
            return
        try:
            records = batch.to_pylist()
        except UnicodeDecodeError:
            records = [_record(path, row + i, batch.slice(i, 1)) for i in range(batch.num_rows)]
        for record in records:
            yield f"row {row}", record
            row += 1


def _record(path: Path, row: int, batch: Any) -> dict[str, Any] | BrokenRecord:
    try:
        return batch.to_pylist()[0]
    except UnicodeDecodeError as error:
        return BrokenRecord(path, f"row {row}", f"a text is not UTF-8 ({error.reason})")


def _check_columns(path: Path, names: Sequence[str], columns: Sequence[str] | None) -> None:
    for column in columns or ():
        if column not in names:
            raise UserError(f"{path} has no column {column}; it has: {', '.join(names)}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
