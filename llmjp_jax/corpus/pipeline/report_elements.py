"""HTML elements for the report: whatever is not markup of ours is escaped, so that no document's text can act.

Everything on the page is made by `element`. A plain string becomes text; only what `element` itself made (`Markup`)
goes in as it is. There is thus no place where escaping can be forgotten.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

VOID = frozenset({"input", "link", "meta", "wbr"})  # elements of ours without an end tag

# HTML has no way to write these; show that they are there.
_UNWRITABLE = {code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)}
_UNWRITABLE[0x7F] = 0x2421
_UNWRITABLE |= dict.fromkeys(range(0x80, 0xA0), 0xFFFD)
_SURROGATE = re.compile("[\ud800-\udfff]")


class Markup(str):
    """A string that is HTML already."""

    __slots__ = ()


def printable(text: str) -> str:
    """`text` with pictures for control characters (line ends and tabs stay) and U+FFFD for lone surrogates."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_UNWRITABLE)
    return _SURROGATE.sub("\ufffd", text)


def escape(text: str) -> Markup:
    """`text` for any place in an HTML page.

    >>> escape('<b>\\x00&')
    '&lt;b&gt;␀&amp;'
    """
    return Markup(html.escape(printable(text)))


def join(children: Iterable[str]) -> Markup:
    """The children one after another; those that are no `Markup` are escaped."""
    return Markup(
        "".join(child if isinstance(child, Markup) else escape(child) for child in children)
    )


def element(tag: str, *children: str, **attributes: str | bool | None) -> Markup:
    """`<tag name="value">children</tag>`; `class_` stands for class, `aria_label` for aria-label.

    An attribute that is True is written without a value, one that is None or False not at all.
    """
    written = [f"<{tag}"]
    for name, value in attributes.items():
        name = name.rstrip("_").replace("_", "-")
        if value is True:
            written.append(f" {name}")
        elif value is not None and value is not False:
            written.append(f' {name}="{escape(value)}"')
    written.append(">")
    if tag in VOID:
        return Markup("".join(written))
    return Markup("".join(written) + join(children) + f"</{tag}>")


def breakable(name: str) -> Markup:
    """A step's or a file's name that may go on in the next line after `(`, `,`, `_`, `=` and `/`."""
    pieces = re.split(r"(?<=[(,_=/])(?=.)", printable(name))
    return Markup(element("wbr").join(escape(piece) for piece in pieces))


def table(
    caption: str,
    columns: Sequence[tuple[str, str]],
    rows: Iterable[Sequence[str]],
    total: Sequence[str] | None = None,
) -> Markup:
    """A table that scrolls sideways by itself (by keyboard too) where the screen is narrower than it.

    Args:
      caption: what it shows; read aloud, not seen, because a heading stands above.
      columns: (heading, class) pairs; class "number" aligns right, "code" is for names and checksums. The first
        column heads its row.
      rows: one string a column.
      total: a last row that adds them up.
    """

    def line(cells: Sequence[str]) -> Markup:
        first, *others = (
            breakable(cell) if kind == "code" else cell
            for cell, (_, kind) in zip(cells, columns, strict=True)
        )
        return element(
            "tr",
            element("th", first, scope="row", class_=columns[0][1] or None),
            *(
                element("td", cell, class_=kind or None)
                for cell, (_, kind) in zip(others, columns[1:], strict=True)
            ),
        )

    heads = (element("th", name, scope="col", class_=kind or None) for name, kind in columns)
    return element(
        "div",
        element(
            "table",
            element("caption", caption),
            element("thead", element("tr", *heads)),
            element("tbody", *map(line, rows)),
            *([element("tfoot", line(total))] if total else []),
        ),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def folded(summary: str, *children: str, class_: str | None = None) -> Markup:
    """A part that a reader unfolds, with the mouse or the keyboard."""
    return element("details", element("summary", summary), *children, class_=class_)
