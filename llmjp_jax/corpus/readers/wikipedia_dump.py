"""Documents from a MediaWiki dump (`pages-articles`, multistream or not), read as a stream.

Pages are cut out of the stream before they are parsed: a page that is damaged costs only itself, and memory holds one page. For
dumps with every revision (`pages-meta-history`), whose pages are too large for that, this is not.
"""

from __future__ import annotations

import bz2
import gzip
import os
import re
import xml.etree.ElementTree as ElementTree
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlsplit

from mwparserfromhell.parser import ParserError

from llmjp_jax.corpus.documents import Document
from llmjp_jax.corpus.readers.broken import BrokenRecord
from llmjp_jax.corpus.readers.wikitext import Wikitext
from llmjp_jax.errors import UserError

MAX_PAGE_BYTES = 64 << 20  # Wikipedia's own limit of an article is 2 MB
_READ_BYTES = 1 << 20
_OPEN, _CLOSE, _END = b"<page>", b"</page>", b"</mediawiki>"
_REDIRECT = re.compile(r"\s*#\s*(?:redirect|転送)", re.IGNORECASE)
_FILE_NAMESPACES, _CATEGORY_NAMESPACE = ("6", "-2"), "14"


def read_wikipedia_dump(
    path: str | os.PathLike,
    *,
    language: str | None = None,
    part: int = 0,
    parts: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[str, Document | BrokenRecord]]:
    """Yields (position, document) of each article, in order; a damaged page as (position, `BrokenRecord`).

    Articles are the pages of namespace 0 that are no redirects and have any text. `meta` has `id`, `url`, `title` and
    `language`; how the text is made, `Wikitext` says. Positions count the pages of all namespaces: `page 17`. A dump
    that is cut off, of which the compressed bytes are damaged, or that is empty, ends with a `BrokenRecord`.

    Args:
      path: `.xml`, `.xml.bz2` or `.xml.gz`.
      language: of the articles; None: as the dump's first lines say, `ja` for `https://ja.wikipedia.org/`.
      part, parts: only every `parts`-th page, from page `part` + 1 on. The parser takes most of the time, so that several
        processes may each read the whole file and parse a part of it.
      progress: called with the number of bytes of the file that were read since the last call.

    Raises:
      UserError: the dump does not say its language, and `language` is None.
    """
    path = Path(path)
    if path.stat().st_size == 0:
        if part == 0:
            yield "byte 0", BrokenRecord(path, "byte 0", "the file is empty")
        return
    with path.open("rb") as raw:
        pages = _pages(path, _chunks(path, raw, progress or (lambda count: None)))
        _, position, head = next(pages)
        if isinstance(head, BrokenRecord):
            if part == 0:
                yield position, head
            return
        site = _Site(path, head, language)
        for number, position, page in pages:
            if max(number - 1, 0) % parts != part:
                continue
            record = page if isinstance(page, BrokenRecord) else site.document(page, position)
            if record is not None:
                yield position, record


def _chunks(
    path: Path, raw: IO[bytes], progress: Callable[[int], None]
) -> Iterator[bytes | BrokenRecord]:
    """The decompressed bytes, a `BrokenRecord` where they end too early."""
    file = {".bz2": bz2.BZ2File, ".gz": gzip.GzipFile}.get(path.suffix)
    file = raw if file is None else file(raw) if path.suffix == ".bz2" else file(fileobj=raw)
    done = 0
    while True:
        try:
            chunk = file.read(_READ_BYTES)
        except (EOFError, OSError, zlib.error) as error:
            reason = f"the compressed file is damaged or ends too early ({error})"
            yield BrokenRecord(path, f"byte {raw.tell()}", reason)
            return
        progress(raw.tell() - done)
        done = raw.tell()
        if not chunk:
            return
        yield chunk


def _pages(
    path: Path, chunks: Iterator[bytes | BrokenRecord]
) -> Iterator[tuple[int, str, bytes | BrokenRecord]]:
    """(number, position, bytes): what comes before the first page, then each page from `<page>` to `</page>`.

    Inside of texts `<` is written `&lt;`, so neither can be part of one.
    """
    buffer, number, inside, ended = b"", 0, False, False
    for chunk in chunks:
        if isinstance(chunk, BrokenRecord):
            reason = f"after page {number}: {chunk.reason}" if number else chunk.reason
            yield number, chunk.position, BrokenRecord(path, chunk.position, reason)
            return
        buffer += chunk
        while True:
            mark = _CLOSE if inside else _OPEN
            at = buffer.find(mark)
            again = buffer.find(_OPEN, len(_OPEN)) if inside else -1
            if inside and again != -1 and (at == -1 or again < at):
                yield _broken(path, number, "the page does not end before the next begins")
                buffer, number = buffer[again:], number + 1
            elif at == -1:
                break
            elif inside:
                end = at + len(_CLOSE)
                yield number, f"page {number}", buffer[:end]
                buffer, inside = buffer[end:], False
            else:
                if number == 0:
                    yield _head(path, buffer[:at])
                buffer, number, inside = buffer[at:], number + 1, True
        if inside and len(buffer) > MAX_PAGE_BYTES:
            yield _broken(path, number, f"the page is longer than {MAX_PAGE_BYTES:,} bytes")
            buffer, inside = buffer[-len(_OPEN) :], False
        elif not inside and number:
            ended = ended or _END in buffer
            buffer = buffer[-len(_END) :]
        elif len(buffer) > MAX_PAGE_BYTES:
            yield _head(path, b"")
            return
    if number == 0:
        yield _head(path, buffer)
    if inside:
        yield _broken(path, number, "the dump ends inside of the page")
    elif not ended and _END not in buffer:
        yield _broken(path, number, "the dump ends after this page, without </mediawiki>")


def _head(path: Path, head: bytes) -> tuple[int, str, bytes | BrokenRecord]:
    if b"<mediawiki" in head:
        return 0, "byte 0", head
    reason = "it is no MediaWiki dump, as <mediawiki> is missing"
    return 0, "byte 0", BrokenRecord(path, "byte 0", reason)


def _broken(path: Path, number: int, reason: str) -> tuple[int, str, BrokenRecord]:
    return number, f"page {number}", BrokenRecord(path, f"page {number}", reason)


class _Site:
    """What a dump says of itself in its first lines, and how its pages become documents."""

    def __init__(self, path: Path, head: bytes, language: str | None):
        self._path = path
        text = head.decode("utf-8", errors="replace")
        base = re.search(r"<base>\s*(https?://[^<\s]+/)[^/<]*</base>", text)
        # https://ja.wikipedia.org/wiki/メインページ
        host = urlsplit(base[1]).hostname if base else None
        self.language = language or (host.split(".")[0] if host else None)
        if self.language is None:
            raise UserError(f"{path} does not say which Wikipedia it is of; give its language")
        self._root = base[1] if base else f"https://{self.language}.wikipedia.org/wiki/"
        names = dict(re.findall(r'<namespace key="(-?\d+)"[^>]*>([^<]+)</namespace>', text))
        self._plain = Wikitext(
            media=[names.get(key, "") for key in _FILE_NAMESPACES],
            category=[names.get(_CATEGORY_NAMESPACE, "")],
        )

    def document(self, page: bytes, position: str) -> Document | BrokenRecord | None:
        """The document of a page; None: it is no article."""
        try:
            element = ElementTree.fromstring(page)
        except ElementTree.ParseError as error:
            return BrokenRecord(self._path, position, f"the page is not XML in UTF-8 ({error})")
        title, namespace, id = (element.findtext(name) for name in ("title", "ns", "id"))
        wikitext = element.findtext("revision/text")
        if title is None or namespace is None or id is None:
            reason = "the page lacks its title, its namespace or its id"
            return BrokenRecord(self._path, position, reason)
        redirect = element.find("redirect") is not None
        if namespace != "0" or redirect or not wikitext or _REDIRECT.match(wikitext):
            return None
        try:
            text = self._plain(wikitext)
        except (ParserError, RecursionError) as error:
            reason = f"{title} (id {id}) has wikitext that cannot be parsed ({error})"
            return BrokenRecord(self._path, position, reason)
        if not text:
            return None
        url = self._root + quote(title)
        return {
            "text": text,
            "meta": {"id": id, "url": url, "title": title, "language": self.language},
        }
