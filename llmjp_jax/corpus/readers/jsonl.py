"""Raw records from JSON lines: plain, .gz, .zst or .bz2; a plain file also in parts. What a record means is not known here."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import orjson

from llmjp_jax.corpus.readers.broken import BrokenRecord

_READ_BYTES = 1 << 20
_COMPRESSION = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


def read_jsonl(
    path: str | os.PathLike,
    *,
    start: int = 0,
    end: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[str, dict[str, Any] | BrokenRecord]]:
    """Yields (position, record) of each line, in order; a line that cannot be read as (position, `BrokenRecord`).

    Broken are: a line that is not UTF-8, not JSON or not an object; an empty file; a compressed file that ends too
    early, whose whole lines before that are read.

    Args:
      path: `.gz`, `.zst` and `.bz2` are decompressed, any other name is plain text.
      start, end: bytes of a plain file: the lines that begin in [start, end). Positions are still lines of the file.
      progress: called with the number of bytes of the file that were read since the last call.
    """
    path = Path(path)
    if path.stat().st_size == 0:
        yield "byte 0", BrokenRecord(path, "byte 0", "the file is empty")
        return
    with path.open("rb") as raw:
        lines = _lines(path, _Counted(raw, progress), start, end)
        for number, line in enumerate(lines, 1):
            if isinstance(line, BrokenRecord):
                yield line.position, line
                return
            # Only the bytes before the part are known, so its first line's number is counted when it is asked for.
            position = f"line {number}" if start == 0 else f"line {number} after byte {start}"
            yield position, _record(line, path, position, start, number)


def _record(
    line: bytes, path: Path, position: str, start: int, number: int
) -> dict[str, Any] | BrokenRecord:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        reason = "the line is empty" if not line.strip() else f"the line is not JSON ({error})"
    else:
        if isinstance(record, dict):
            return record
        reason = "the line is not a JSON object"
    if start:
        position = f"line {_newlines(path, start) + number}"
    return BrokenRecord(path, position, reason)


def _newlines(path: Path, end: int) -> int:
    """How many lines begin before byte `end` of a file."""
    count = 0
    with path.open("rb") as file:
        while end > 0 and (block := file.read(min(_READ_BYTES, end))):
            count += block.count(b"\n")
            end -= len(block)
            last = block[-1:]
    # A part begins at the first line that starts at or after `end`; an unfinished line before it is one more.
    return count + (last != b"\n")


class _Counted(io.RawIOBase):
    """A file whose reads are reported."""

    def __init__(self, file: IO[bytes], progress: Callable[[int], None] | None):
        self._file = file
        self._progress = progress or (lambda count: None)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer) -> int:
        count = self._file.readinto(buffer)
        self._progress(count)
        return count


def _lines(
    path: Path, counted: _Counted, start: int, end: int | None
) -> Iterator[bytes | BrokenRecord]:
    if path.suffix in _COMPRESSION:
        yield from _decompressed_lines(path, counted)
        return
    buffered = io.BufferedReader(counted, _READ_BYTES)
    if start:
        # The line that holds the byte before `start` belongs to the part before.
        buffered.seek(start - 1)
        begin = start - 1 + len(buffered.readline())
    else:
        begin = 0
    while end is None or begin < end:
        line = buffered.readline()
        if not line:
            return
        begin += len(line)
        yield line


def _decompressed_lines(path: Path, counted: _Counted) -> Iterator[bytes | BrokenRecord]:
    # pyarrow's streams read members and frames one after another, four times as fast as Python's, and, unlike
    # zstandard's, complain where the last one is cut.
    import pyarrow

    stream = io.BufferedReader(
        pyarrow.input_stream(counted, compression=_COMPRESSION[path.suffix]), _READ_BYTES
    )
    lines = 0
    while True:
        try:
            line = stream.readline()
        except OSError as error:
            reason = f"the compressed file is damaged or ends too early ({error})"
            yield BrokenRecord(path, f"after line {lines}", reason)
            return
        if not line:
            return
        lines += 1
        yield line
