"""HTML to paragraphs with DOM paths, as Uzushio cuts them. Which charset the bytes are in is `charsets`' business.

The page is parsed by resiliparse (lexbor, the HTML standard's algorithm), written out again by it, and the result,
which is well-formed, is read tag by tag with one regular expression. Measured on 20 Japanese pages of 118 KB and 280
paragraphs, in CPU time of one core: 117 pages/s, 14 MB/s, a fifth of it for parsing and writing out. A bare walk over
resiliparse's nodes makes 50 to 65 pages/s. lxml's bare walk makes 320, but its parser loses the text below a depth of
256; selectolax's 700 to 900, but it tells no ends of elements, and most of the time goes into the paragraphs anyway.

Facts (WorksApplications/uzushio, lib/html/ParagraphExtractor.scala, lib/utils/Paragraphs.scala; Tika's XHTMLContentHandler):
a block tag ends the paragraph at its start and at its end; `li`, `td` and the like are no blocks, but each `li`, `dt`,
`dd` and `tr` is a line, and cells have a blank between them; `br` is a line break; blanks collapse, in `pre` too; an
empty line, and a paragraph of blanks only, is dropped; the `head` gives nothing.

Here it differs from Uzushio on purpose:
- Text between two blocks has the path of the block that holds it. Uzushio gives it the path of the block before it, so
  that an article's loose text after a `div#header` would go with the header.
- A link that holds blocks counts as a link in each of them. Uzushio loses it at the first block.
- A page deeper than 256 elements is read, its paths stop there. Uzushio drops it, to save memory.
- Raw content that is never shown (`template`, `iframe`, `noembed`, `noframes`) is dropped like `script` and `style`.
- `>` in a class or id becomes `_`: it separates the elements of a path.
"""

from __future__ import annotations

import html as entities
import re
from typing import Any

Paragraph = dict[str, Any]

MAX_PATH = 256  # elements; Uzushio's MAX_PATH_SIZE

_BLOCKS = frozenset(
    "body address article aside blockquote caption center dialog dir div dl fieldset figure footer form frame h1 h2 h3 h4 "
    "h5 h6 header hr legend main nav noframes noscript ol optgroup option p pre section table textarea title ul "
    "xmp".split()
)
_BLANK_BEFORE = frozenset("li dd dt td th".split())
_LINE_AFTER = frozenset("li dt dd tr select".split())
_VOID = frozenset(
    "area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr".split()
)
_NEVER_SHOWN = "script, style, template, iframe, noembed, noframes"

# An end tag; a start tag and its attributes; text; or content in which nothing is a tag but its own end.
_TOKEN = re.compile(
    r"<(xmp|plaintext)\b[^>]*>(.*?)</\1>"
    r"|</([^>]+)>"
    r'|<([a-zA-Z][^\s/>]*)([^>"]*(?:"[^"]*"[^>"]*)*)>'
    r"|<!--.*?-->|<[?!][^>]*>|([^<]+|<)",
    re.DOTALL,
)
_CLASS = re.compile(r'\sclass="([^"]*)"')
_ID = re.compile(r'\sid="([^"]*)"')

_LINK, _LINK_END = "\x02", "\x03"  # around a link's text while a paragraph is put together
_MARKS = re.compile("[\x02\x03]")
_LINKED = re.compile("\x02([^\x03]*)")
_BLANKS = re.compile("[\x00-\x01\x04-\x20\xa0]+")
_BLANKS_IN_LINE = re.compile("[\x00-\x01\x04-\x09\x0b-\x20\xa0]+")


def html_paragraphs(page: bytes | str, encoding: str = "utf-8") -> list[Paragraph]:
    """The paragraphs of a page, in order.

    Each is `{"path", "text", "link_chars"}`: the elements from `body` to the block that holds it, with their classes
    and id, as `body.home>div.main.wide#content>p`; its lines; how many of its characters are inside links.

    Args:
      page: a page. Bytes are decoded by `encoding`, a name of Python's; what is wrong becomes U+FFFD.
    """
    from resiliparse.parse.html import HTMLTree

    if isinstance(page, bytes):
        page = page.decode(encoding, "replace")
    page = page.removeprefix("\ufeff")
    if _LINK in page or _LINK_END in page:
        page = _MARKS.sub("", page)
    try:
        body = HTMLTree.parse(page).body
    except UnicodeEncodeError:  # a half of a surrogate pair
        body = HTMLTree.parse(page.encode("utf-8", "replace").decode()).body
    if body is None:  # a frameset
        return []
    for element in body.query_selector_all(_NEVER_SHOWN):
        element.decompose()
    return _Walk().paragraphs_of(body.html)


class _Walk:
    """Reads the tags of a well-formed page in order and collects its paragraphs."""

    def __init__(self) -> None:
        self.paragraphs: list[Paragraph] = []
        self._open: list[list[Any]] = []  # tag, attributes, path to it (None until asked for)
        self._blocks: list[int] = []  # places in _open
        self._pieces: list[str] = []  # of the paragraph that is being put together
        self._links = 0

    def paragraphs_of(self, page: str) -> list[Paragraph]:
        pieces = self._pieces
        for raw, content, end, tag, attributes, text in _TOKEN.findall(page):
            if text:
                pieces.append(entities.unescape(text) if "&" in text else text)
            elif end:
                self._end(end)
            elif tag:
                self._start(tag, attributes)
            elif raw:
                self._start(raw, "")
                pieces.append(content)
                self._end(raw)
        self._push("body")
        return self.paragraphs

    def _start(self, tag: str, attributes: str) -> None:
        if tag in _BLOCKS:
            self._push_in_block()
            if tag not in _VOID:
                self._blocks.append(len(self._open))
        elif tag in _BLANK_BEFORE:
            self._pieces.append("\t")
        elif tag == "br":
            self._pieces.append("\n")
        elif tag == "a":
            self._links += 1
            self._pieces.append(_LINK)
        if tag not in _VOID:
            self._open.append([tag, attributes, None])

    def _end(self, tag: str) -> None:
        if self._open and self._open[-1][0] == tag:
            self._leave()
        elif any(element[0] == tag for element in self._open):
            while self._leave() != tag:
                pass

    def _leave(self) -> str:
        tag = self._open[-1][0]
        if tag in _BLOCKS:
            self._push_in_block()
            self._blocks.pop()
        elif tag in _LINE_AFTER:
            self._pieces.append("\n")
        elif tag == "a":
            self._links -= 1
            self._pieces.append(_LINK_END)
        self._open.pop()
        return tag

    def _push_in_block(self) -> None:
        if self._pieces:
            self._push(self._path(self._blocks[-1]) if self._blocks else "body")

    def _push(self, path: str) -> None:
        text, link_chars = clean_text("".join(self._pieces))
        self._pieces.clear()
        if self._links:
            self._pieces.append(_LINK)  # the link goes on in the next paragraph
        if text:
            self.paragraphs.append({"path": path, "text": text, "link_chars": link_chars})

    def _path(self, place: int) -> str:
        """The path to the open element at `place`; of an element too deep, to the deepest that is not."""
        place = min(place, MAX_PATH - 1)
        known = place
        while known >= 0 and self._open[known][2] is None:
            known -= 1
        path = self._open[known][2] if known >= 0 else ""
        for element in self._open[known + 1 : place + 1]:
            step = _path_step(element[0], element[1])
            path = element[2] = f"{path}>{step}" if path else step
        return path


def _path_step(tag: str, attributes: str) -> str:
    if not attributes:
        return tag
    classes, identifier = _CLASS.search(attributes), _ID.search(attributes)
    parts = [tag]
    if classes:
        parts += ["." + name for name in entities.unescape(classes[1]).split()]
    if identifier and identifier[1].strip():
        parts.append("#" + "_".join(entities.unescape(identifier[1]).split()))
    return "".join(parts).replace(">", "_")


def clean_text(raw: str) -> tuple[str, int]:
    """The lines of `raw` with blanks collapsed, empty lines dropped, and how many characters are inside links.

    A link's text is between U+0002 and U+0003, which are taken out; line breaks in it are blanks, and blanks at its
    edges belong to the text around it.
    """
    link_chars = 0

    def link(match: re.Match) -> str:
        nonlocal link_chars
        inside = _BLANKS.sub(" ", match[1])
        text = inside.strip()
        link_chars += len(text)
        return inside if text else ""

    if _LINK in raw:
        raw = _MARKS.sub("", _LINKED.sub(link, raw))
    lines = [line.strip() for line in _BLANKS_IN_LINE.sub(" ", raw).split("\n")]
    return "\n".join([line for line in lines if line]), link_chars
