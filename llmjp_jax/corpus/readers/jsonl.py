"""Raw records from JSON lines: plain, .gz, .zst or .bz2; a plain file also in parts. What a record means is not known here."""

from __future__ import annotations

import bz2
import functools
import io
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import orjson

from llmjp_jax.corpus.readers.broken import BrokenRecord

_READ_BYTES = 1 << 20
# So small that what it may become fits into memory: a block of zeros grows a thousandfold.
_COMPRESSED_BYTES = 1 << 16
COMPRESSIONS = frozenset({".gz", ".zst", ".bz2"})


def read_jsonl(
    path: str | os.PathLike,
    *,
    start: int = 0,
    end: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[str, dict[str, Any] | BrokenRecord]]:
    """Yields (position, record) of each line, in order; a line that cannot be read as (position, `BrokenRecord`).

    Broken are: a line that is not UTF-8, not JSON or not an object; an empty file; a compressed file that ends too
    early, whose whole lines before that are read. Whole numbers beyond 64 bits become floating point.

    Args:
      path: `.gz`, `.zst` and `.bz2` are decompressed, any other name is plain text.
      start, end: bytes of a plain file: the lines that begin in [start, end). Positions are still lines of the file.
      progress: called with the number of bytes of the file that were read since the last call.
    """
    path = Path(path)
    if path.stat().st_size == 0:
        yield "byte 0", BrokenRecord(path, "byte 0", "the file is empty")
        return
    # The lines before a part are counted once, and only when something in it is broken.
    before = functools.cache(lambda: _newlines(path, start) if start else 0)
    with path.open("rb") as raw:
        lines = _lines(path, _Counted(raw, progress), start, end)
        for number, line in enumerate(lines, 1):
            if isinstance(line, BrokenRecord):
                yield line.position, line
                return
            record = _record(line)
            if isinstance(record, str):
                position = f"line {before() + number}"
                yield position, BrokenRecord(path, position, record)
            else:
                yield (
                    (f"line {number}" if not start else f"line {number} after byte {start}"),
                    record,
                )


def _record(line: bytes) -> dict[str, Any] | str:
    """The object in a line, or what is wrong with it."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return "the line is empty" if not line.strip() else f"the line is not JSON ({error})"
    return record if isinstance(record, dict) else "the line is not a JSON object"


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
    if path.suffix in COMPRESSIONS:
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
    pending: list[bytes] = []  # of the line that is not yet whole
    lines = 0
    for block in _decompressed(path, counted):
        if isinstance(block, str):
            yield BrokenRecord(path, f"after line {lines}", block)
            return
        first, *rest = block.split(b"\n")
        pending.append(first)
        for part in rest:
            yield b"".join(pending)
            lines += 1
            pending = [part]
    if last := b"".join(pending):
        yield last
    elif not lines:
        yield BrokenRecord(path, "byte 0", "the file is empty")


def _decompressed(path: Path, counted: _Counted) -> Iterator[bytes | str]:
    """Yields all that can be decompressed, members and frames one after another, then what is wrong, if anything is."""
    decompressor = _decompressor(path.suffix)
    while data := counted.read(_COMPRESSED_BYTES):
        while data:
            if decompressor.eof:
                data = data.lstrip(b"\0")  # tape archives end so
                decompressor = _decompressor(path.suffix) if data else decompressor
                continue
            try:
                yield decompressor.decompress(data)
            except Exception as error:  # each library has errors of its own
                yield f"the file cannot be decompressed ({error})"
                return
            data = decompressor.unused_data if decompressor.eof else b""
    if not decompressor.eof:
        yield "the compressed file ends too early"


def _decompressor(suffix: str) -> Any:
    """An object with `decompress`, `eof` and `unused_data`.

    Streams that read lines on top of these lose what they had buffered when the end is missing, or take it for the end.
    """
    if suffix == ".gz":
        return zlib.decompressobj(wbits=31)
    if suffix == ".bz2":
        return bz2.BZ2Decompressor()
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj()
