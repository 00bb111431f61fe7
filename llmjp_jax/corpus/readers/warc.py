"""WARC files to documents: the HTML pages that were answered with 200 and are in the languages asked for.

fastwarc finds the records. It ends silently where a file is cut off, and gives up at the first damaged record, so
lengths are checked here, and reading goes on at the next record that can be found: in a `.warc.gz` with one record a
member, as crawlers write it, and in a plain `.warc`.
"""

from __future__ import annotations

import email.utils
import os
import re
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from llmjp_jax.corpus.documents import Document
from llmjp_jax.corpus.readers.broken import BrokenRecord
from llmjp_jax.corpus.readers.charsets import guess_charset_and_language
from llmjp_jax.corpus.readers.html import html_paragraphs
from llmjp_jax.errors import UserError

MAX_PAGE_BYTES = 64 << 20
_HEAD_BYTES = 64 << 10
_EARLIEST_DATE = datetime(
    1999, 1, 1, tzinfo=UTC
)  # an earlier one is a wrong clock: Uzushio's cut-off

_STATUS = re.compile(rb"HTTP/[\d.]+ +(\d{3})")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_UUID = re.compile(r"<urn:uuid:([0-9a-fA-F-]{36})>")
_HTML_TYPES = ("text/html", "application/xhtml+xml")


def read_warc(
    path: str | os.PathLike,
    *,
    languages: Collection[str] | None = ("ja",),
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[str, Document | BrokenRecord]]:
    """Yields (position, document) of each page, in order; a record that cannot be read as (position, `BrokenRecord`).

    A document has `paragraphs` (`html_paragraphs`), their `text`, and in `meta`: `docId` (the UUID of the record),
    `url`, `charset` (Python's name of it), `language`, `date` (the earliest of the record's and the HTTP headers'
    dates, ISO 8601 in UTC without a zone, or ""). Records of other kinds, other statuses and other content types, and
    pages in other languages or in none that can be told, are passed over, as Uzushio does.

    Args:
      path: `.warc` or `.warc.gz`; which of both is seen from its first bytes.
      languages: the codes to keep. None keeps every page. Languages in ASCII letters cannot be told by Uzushio's rule.
      progress: called with the number of bytes of the file that were read since the last call.

    Raises:
      UserError: `languages` has a code that the detector does not know.
    """
    _check_languages(languages)
    done = 0
    for start, record in _responses(Path(path)):
        if progress is not None and start > done:
            progress(start - done)
            done = start
        position = f"byte {start}"
        if isinstance(record, BrokenRecord):
            yield position, record
            continue
        try:
            document = _document(record, languages)
        except ValueError as error:
            yield position, BrokenRecord(path, position, str(error))
            continue
        if document is not None:
            yield position, document
    if progress is not None:
        progress(Path(path).stat().st_size - done)


def _check_languages(languages: Collection[str] | None) -> None:
    from resiliparse.parse.lang import supported_langs

    known = supported_langs()
    codes = [languages] if isinstance(languages, str) else languages or []
    for code in codes:
        if code not in known:
            raise UserError(f"languages has {code!r}; known codes are: {', '.join(sorted(known))}")
    if isinstance(languages, str):
        raise UserError(
            f"languages is the string {languages!r}; give a list of codes, as [{languages!r}]"
        )


@dataclass(frozen=True)
class _Response:
    record_id: str
    url: str
    date: str
    headers: dict[str, str]  # of HTTP, names in lower case
    block: bytes  # HTTP headers and body
    body: bytes


_Found = tuple[int, _Response | BrokenRecord]


def _responses(path: Path) -> Iterator[_Found]:
    """(byte of the file, HTML response) of each; goes on after a damaged record where the next one can be found."""
    from fastwarc.warc import ArchiveIterator

    size = path.stat().st_size
    if size == 0:
        yield 0, BrokenRecord(path, "byte 0", "the file is empty")
    start: int | None = 0 if size else None
    with path.open("rb") as file, path.open("rb") as beside:
        compressed = beside.read(2) == b"\x1f\x8b"
        while start is not None:
            file.seek(start)
            last, held, error = None, None, None
            try:
                for record in ArchiveIterator(file, parse_http=False):
                    # A record is known to be whole only when another begins where it should.
                    if held is not None:
                        yield held
                    last, held = record.stream_pos, None
                    held = _response(path, record)
            except OSError as caught:
                error = str(caught)
            # Where the last record that was found ends by its own account; None where it does not end there.
            end = start if last is None else _end_of(beside, last, compressed)
            if error and end is None:
                held = last, BrokenRecord(path, f"byte {last}", f"the record is damaged ({error})")
            elif end is None and held is None and _begins(beside, last, compressed):
                held = last, BrokenRecord(path, f"byte {last}", "the file ends within the record")
            if held is not None:
                yield held
            if end is not None and end < size:
                reason = f"no record ({error})" if error else "the file ends within a record"
                yield end, BrokenRecord(path, f"byte {end}", reason)
            start = None
            if error:
                start = _next_record(beside, (last if end is None else end) + 1, compressed)


def _response(path: Path, record: Any) -> _Found | None:
    """The record's response if it is an HTML page with status 200, else None; its body is read only then."""
    from fastwarc.warc import WarcRecordType

    if record.record_type != WarcRecordType.response:
        return None
    start, length = record.stream_pos, record.content_length
    block = record.reader.read(min(_HEAD_BYTES, length))
    status, headers, body = _split_http(block)
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    if len(block) == min(_HEAD_BYTES, length):
        if status != 200 or (kind not in _HTML_TYPES and (kind or body.lstrip()[:1] != b"<")):
            return None
        if length > MAX_PAGE_BYTES:
            reason = f"the page has {length:,} bytes, more than {MAX_PAGE_BYTES:,}"
            return start, BrokenRecord(path, f"byte {start}", reason)
        rest = record.reader.read() if length > len(block) else b""
        block, body = block + rest, body + rest
    if len(block) < length:
        reason = f"the record has {len(block):,} of its {length:,} bytes: the file is cut off"
        return start, BrokenRecord(path, f"byte {start}", reason)
    get = record.headers.get
    return start, _Response(
        get("WARC-Record-ID") or f"{path.name}:{start}",
        (get("WARC-Target-URI") or "").strip("<>"),
        get("WARC-Date") or "",
        headers,
        block,
        body,
    )


def _split_http(block: bytes) -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body) of a response; status 0 for what is none."""
    end = _HEAD_END.search(block)
    status = _STATUS.match(block)
    if not end or not status:
        return 0, {}, b""
    headers: dict[str, str] = {}
    for line in block[: end.start()].decode("latin-1").splitlines()[1:]:
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), value.strip())
    return int(status[1]), headers, block[end.end() :]


def _document(response: _Response, languages: Collection[str] | None) -> Document | None:
    """The document of a page, or None in another language. ValueError: the body cannot be decompressed."""
    page, content_type = _decoded(response), response.headers.get("content-type")
    charset, language = guess_charset_and_language(page, content_type)
    if languages is not None and language not in languages:
        return None
    paragraphs = html_paragraphs(page, charset or "utf-8")
    uuid = _UUID.fullmatch(response.record_id)
    meta = {
        "docId": uuid[1] if uuid else response.record_id,
        "url": response.url,
        "charset": charset,
        "language": language,
        "date": _earliest_date(response),
    }
    text = "\n".join(paragraph["text"] for paragraph in paragraphs)
    return {"text": text, "meta": meta, "paragraphs": paragraphs}


def _decoded(response: _Response) -> bytes:
    """The body without chunks and compression.

    Archives often keep the headers of a body that they have already decoded; a body that does not begin as they say
    is taken as it is.
    """
    from fastwarc.warc import WarcRecord, WarcRecordType

    headers, body = response.headers, response.body
    chunked = "chunked" in headers.get("transfer-encoding", "").lower()
    compressed = headers.get("content-encoding", "identity").lower() not in ("identity", "")
    if not chunked and not compressed:
        return body
    record = WarcRecord()
    record.init_headers(WarcRecordType.response)
    record.is_http = True
    record.set_bytes_content(response.block)
    try:
        record.parse_http(auto_decode="all", strict_mode=False)
        return record.reader.read()
    except OSError as error:
        is_chunk = chunked and re.match(rb"[0-9a-fA-F]+[^\r\n]*\r\n", body)
        if is_chunk or body[:2] == b"\x1f\x8b":
            raise ValueError(f"the body cannot be decoded ({error})") from None
        return body


def _earliest_date(response: _Response) -> str:
    dates = []
    for parse, value in (
        (datetime.fromisoformat, response.date),
        (email.utils.parsedate_to_datetime, response.headers.get("date", "")),
        (email.utils.parsedate_to_datetime, response.headers.get("last-modified", "")),
    ):
        try:
            date = parse(value)
            date = date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
        except (ValueError, TypeError, OverflowError):
            continue
        if date >= _EARLIEST_DATE:
            dates.append(date)
    return min(dates).strftime("%Y-%m-%dT%H:%M:%S") if dates else ""


def _end_of(file: IO[bytes], start: int, compressed: bool) -> int | None:
    """The byte after the record at `start`, if it ends where its Content-Length says; else None."""
    file.seek(start)
    head = _uncompressed(file, _HEAD_BYTES, compressed)[0]
    head_end = head.find(b"\r\n\r\n")
    length = re.search(rb"\ncontent-length:\s*(\d+)", head[:head_end], re.IGNORECASE)
    if not head.startswith(b"WARC/") or head_end < 0 or not length:
        return None
    size = head_end + 4 + int(length[1])
    if not compressed:
        file.seek(start + size)
        return start + size + 4 if file.read(4) == b"\r\n\r\n" else None
    file.seek(start)
    record, unread = _uncompressed(file, size + 5, compressed)
    return file.tell() - unread if record[size:] == b"\r\n\r\n" else None


def _begins(file: IO[bytes], start: int, compressed: bool) -> bool:
    """Whether a record begins at `start`: not so where many are in one gzip member, which fastwarc cannot place."""
    file.seek(start)
    return _uncompressed(file, 5, compressed)[0] == b"WARC/"


def _uncompressed(file: IO[bytes], size: int, compressed: bool) -> tuple[bytes, int]:
    """(up to `size` bytes from where `file` stands, in a gzip member; bytes of the file read too far)."""
    if not compressed:
        return file.read(size), 0
    member, parts, left = zlib.decompressobj(31), [], size
    try:
        while left > 0 and not member.eof:
            data = member.unconsumed_tail or file.read(1 << 16)
            if not data:
                break
            parts.append(member.decompress(data, left))
            left -= len(parts[-1])
    except zlib.error:
        pass
    return b"".join(parts), len(member.unused_data or member.unconsumed_tail)


def _next_record(file: IO[bytes], start: int, compressed: bool) -> int | None:
    """The byte at or after `start` where a record begins; None without one."""
    sign = b"\x1f\x8b\x08" if compressed else b"\nWARC/1."
    before, position, kept = (0, start, b"") if compressed else (1, start - 1, b"")
    while True:
        file.seek(position + len(kept))
        data = kept + file.read(1 << 20)
        found = data.find(sign)
        if found >= 0:
            begin = position + found + before
            if _begins(file, begin, compressed):
                return begin
            position, kept = begin - before + 1, b""
            continue
        if len(data) < len(kept) + 1:
            return None
        kept = data[-len(sign) + 1 :]
        position += len(data) - len(kept)
