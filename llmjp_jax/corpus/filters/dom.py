"""Maps that read where in the page a paragraph stood: lists, headings, and page furniture. After Uzushio's.

A path is `body.home>div.main.wide#content>p`: from the body to the block that holds the text, each element with its
classes and its id.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from llmjp_jax.corpus.documents import Document
from llmjp_jax.corpus.filters.paragraphs import Paragraph, paragraphs_of

_LIST_TAGS = frozenset(("li", "option"))
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")

# Uzushio's NoContentDOM, its last version (11 names that may be part of a class or id, 7 that must be all of it).
_FURNITURE_TAGS = frozenset(("header", "footer", "aside", "nav", "noscript", "form"))
_NAMED_TAGS = frozenset(("div", "p", "ul", "h1"))  # the tags whose class and id are looked at
_FURNITURE_PARTS = (
    "header", "footer", "side", "menu", "nav", "banner", "logo", "pankuzu", "breadcrumb", "widget", "button",
)  # fmt: skip
_FURNITURE_NAMES = (
    "left-box", "blog-title-inner", "blogtitle", "blog-name", "head-block1", "head-blog-name", "head-introduction",
)  # fmt: skip


class Element(NamedTuple):
    tag: str
    classes: tuple[str, ...]
    id: str | None


@functools.lru_cache(maxsize=1 << 14)
def parse_path(path: str) -> tuple[Element, ...]:
    """`div.main.wide#content>p` -> (Element("div", ("main", "wide"), "content"), Element("p", (), None))."""
    return tuple(_element(step) for step in path.split(">")) if path else ()


def _element(step: str) -> Element:
    step, _, identifier = step.partition("#")
    tag, *classes = step.split(".")
    return Element(tag, tuple(name for name in classes if name), identifier or None)


def merge_list_tag(document: Document) -> Document:
    """Makes one paragraph of neighbours with the same path inside `li` or `option`: `- a` and `- b` on lines.

    Its frequencies are the least of theirs, its link characters the sum. A single one stays as it is. (Plain `li`s of
    a list are one paragraph from the start: it is for those that hold blocks.)
    """
    merged: list[list[Paragraph]] = []
    for paragraph in paragraphs_of(document):
        if merged and _same_list(merged[-1][-1], paragraph):
            merged[-1].append(paragraph)
        else:
            merged.append([paragraph])
    document["paragraphs"] = [one[0] if len(one) == 1 else _list_of(one) for one in merged]
    return document


def _same_list(before: Paragraph, paragraph: Paragraph) -> bool:
    return (
        before["path"] == paragraph["path"]
        and "removed" not in before
        and "removed" not in paragraph
        and any(element.tag in _LIST_TAGS for element in parse_path(paragraph["path"]))
    )


def _list_of(paragraphs: list[Paragraph]) -> Paragraph:
    merged = dict(paragraphs[0], text="\n".join("- " + one["text"] for one in paragraphs))
    for name in ("exact_freq", "near_freq"):
        if any(name in one for one in paragraphs):
            merged[name] = min(one.get(name, 1) for one in paragraphs)
    if any("link_chars" in one for one in paragraphs):
        merged["link_chars"] = sum(one.get("link_chars", 0) for one in paragraphs)
    return merged


def markdownize_heading(document: Document) -> Document:
    """Puts `# ` to `###### ` before the text of a paragraph inside `h1` to `h6`; the innermost heading decides."""
    for paragraph in paragraphs_of(document):
        level = _heading_level(paragraph["path"])
        if level and "removed" not in paragraph:
            paragraph["text"] = "#" * level + " " + paragraph["text"]
    return document


@functools.lru_cache(maxsize=1 << 14)
def _heading_level(path: str) -> int:
    for element in reversed(parse_path(path)):
        if element.tag in _HEADINGS:
            return _HEADINGS.index(element.tag) + 1
    return 0


def no_content_dom(document: Document) -> Document:
    """Removes paragraphs inside page furniture: by tag, or by the class or id of a `div`, `p`, `ul` or `h1`.

    Furniture are the tags header, footer, aside, nav, noscript and form; a class or id that contains, in either case,
    one of 11 names (`side`, `menu`, `nav`, ...); one that is exactly one of 7 more, in kebab case or camel case.
    """
    for paragraph in paragraphs_of(document):
        if is_furniture(paragraph["path"]):
            paragraph.setdefault("removed", "no_content_dom")
    return document


@functools.lru_cache(maxsize=1 << 14)
def is_furniture(path: str) -> bool:
    """Whether a path leads through page furniture."""
    return any(
        element.tag in _FURNITURE_TAGS or (element.tag in _NAMED_TAGS and _named_furniture(element))
        for element in parse_path(path)
    )


def _named_furniture(element: Element) -> bool:
    names = (*element.classes, element.id) if element.id else element.classes
    return any(
        name in _exact_names() or any(part in name.lower() for part in _FURNITURE_PARTS)
        for name in names
    )


@functools.cache
def _exact_names() -> frozenset[str]:
    camel = []
    for name in _FURNITURE_NAMES:
        first, *rest = name.split("-")
        camel.append(first + "".join(word.capitalize() for word in rest))
    return frozenset((*_FURNITURE_NAMES, *camel))
