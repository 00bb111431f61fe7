"""Wikitext to plain text, by the rules of Hugging Face's `wikipedia` data set, which LLM-jp's corpora were made from.

Source of the rules: huggingface/datasets, datasets/wikipedia/wikipedia.py. Templates, tables, footnotes, comments, formulas,
galleries, and links to files are dropped; of other links their text stays; list and font marks go; each section is stripped and
they are joined by an empty line. Two things are otherwise: a heading loses the spaces at its ends, so that it is a line by
itself (`脚注`, not `脚注 `), and names of categories, which that script leaves behind as text, are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import mwparserfromhell
from mwparserfromhell.definitions import is_visible
from mwparserfromhell.nodes import Heading

# As in that script. A dump says besides what its own namespaces are called.
_MEDIA = ("File", "Image", "Media", "ファイル", "画像", "メディア")
_CATEGORY = ("Category", "カテゴリ")
_DROPPED_TAGS = {"ref", "references", "table"}
_MAGIC_WORD = re.compile("__[A-Z]+__")
_MANY_LINES = re.compile("\n{3,}")


class Wikitext:
    """Makes plain text of wikitext: `Wikitext(media=["Datei"], category=["Kategorie"])(wikitext)`.

    Args:
      media, category: names of the namespaces of files and of categories, besides the English and Japanese ones.
    """

    def __init__(self, media: Iterable[str] = (), category: Iterable[str] = ()):
        self._media, self._category = _prefix(_MEDIA, media), _prefix(_CATEGORY, category)

    def __call__(self, wikitext: str) -> str:
        """The plain text; "" where nothing of it is text.

        Raises:
          mwparserfromhell.parser.ParserError, RecursionError: the wikitext is beyond the parser.
        """
        sections: list[list[Any]] = [[]]
        for node in mwparserfromhell.parse(wikitext).nodes:
            if isinstance(node, Heading):
                sections.append([])
            sections[-1].append(node)
        texts = (_MAGIC_WORD.sub("", self._text(nodes)).strip() for nodes in sections)
        return "\n\n".join(filter(None, texts))

    def _text(self, nodes: Sequence[Any]) -> str:
        text = "".join(filter(None, map(self._node, nodes)))
        return _MANY_LINES.sub("\n\n", text).strip("\n")

    def _node(self, node: Any) -> str | None:
        """The text of a node; None for what is dropped."""
        kind = type(node).__name__
        if kind == "Text":
            return node.value
        if kind == "Wikilink":
            return self._link(node)
        if kind == "Tag":
            name = str(node.tag).strip().lower()
            visible = node.contents is not None and is_visible(name) and name not in _DROPPED_TAGS
            return self._text(node.contents.nodes) if visible else None
        if kind == "Heading":
            return self._text(node.title.nodes).strip()
        if kind == "HTMLEntity":
            return node.normalize()
        if kind == "ExternalLink":
            shown = node.title if node.brackets else node.url
            return None if shown is None else self._text(shown.nodes)
        if kind == "Argument" and node.default is not None:
            return self._text(node.default.nodes)
        return None

    def _link(self, link: Any) -> str | None:
        title = str(link.title)
        if self._media.match(title) or self._category.match(title):
            return None
        return self._text((link.title if link.text is None else link.text).nodes)


def _prefix(known: Iterable[str], more: Iterable[str]) -> re.Pattern[str]:
    # Underscores and spaces are the same in names of namespaces.
    names = sorted({name.replace("_", " ") for name in (*known, *more) if name})
    choice = "|".join(re.escape(name).replace(r"\ ", "[ _]") for name in names)
    return re.compile(rf"\s*(?:{choice})\s*:", re.IGNORECASE)
