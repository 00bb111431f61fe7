"""The page of a document: its text with what was looked for marked, where it comes from, and when a run saw it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmjp_jax.corpus.pipeline.report_elements import (
    Markup,
    breakable,
    element,
    folded,
    join,
    table,
)
from llmjp_jax.search.results import DocumentId, IndexedDocument
from llmjp_jax.search.spans import Span
from llmjp_jax.search.web.layout import counted, link_to_document, listed, page, text_block
from llmjp_jax.search.web.places import marked, separate
from llmjp_jax.search.web.question import Question
from llmjp_jax.search.web.results_page import origin

if TYPE_CHECKING:
    from llmjp_jax.search.trace import Seen, Trace

PART = 20_000  # characters of a document that a page shows
_LINKS = 30  # to matches
_ROWS = 100  # of the table of steps
_IDS = 2_000  # token ids that are shown
_VALUE = 1_000  # characters of a field of the meta
_URL = re.compile(r"https?://[^\s<>\"']+", re.IGNORECASE)


def document_page(
    document: IndexedDocument,
    documents: int,
    question: Question,
    text: str,
    spans: Sequence[Span],
    part: int | None,
    trace: Trace | None,
    seen: Sequence[Seen],
) -> str:
    """A document.

    Args:
      documents: how many its store has.
      text, spans: what to show of it and to mark; see `places.places_of`.
      part: which part of a long text, from 1; None: the one with the first mark.
      seen: what `trace` says of it.
    """
    spans = [span for span in separate(spans) if span.start < span.stop]
    parts = max(1, -(-len(text) // PART))
    if part is None:
        part = spans[0].start // PART + 1 if spans else 1
    part = min(part, parts)
    sections = [_text(document, question, text, spans, part, parts)]
    sections.append(_steps(document.id, trace, seen))
    sections.append(_known(document))
    return page(
        str(document.id),
        _ways(document.id, documents, question),
        element("h1", breakable(str(document.id)), class_="name"),
        element("p", origin(document.source, document.licence), class_="origin"),
        *sections,
        skip="text",
    )


def _ways(id: DocumentId, documents: int, question: Question) -> Markup:
    ways = []
    if question.text:
        ways.append(element("a", "Back to the results", href=f"/?{question.query()}"))
    for name, number, rel in (("Previous", id.number - 1, "prev"), ("Next", id.number + 1, "next")):
        if 0 <= number < documents:
            ways.append(element("a", name, href=link_to_document(id._replace(number=number)), rel=rel))  # fmt: skip
    return element("nav", *ways, class_="ways", aria_label="Other documents")


def _text(document: IndexedDocument, question: Question, text: str, spans: Sequence[Span], part: int, parts: int) -> Markup:  # fmt: skip
    start, stop = (part - 1) * PART, min(len(text), part * PART)
    before = sum(span.stop <= start for span in spans)
    here = sum(span.start < stop and span.stop > start for span in spans)
    about = f"{counted(len(document.text), 'character')}, {counted(len(document.tokens), 'token')}"
    found = [element("h2", "Text", id="text", tabindex="-1"), element("p", about, class_="muted")]
    if text != document.text:
        found.append(element("p", "What its token ids decode to, since the text is not cut into these.", class_="muted"))  # fmt: skip
    if spans:
        found.append(_matches(document.id, question, spans, before, here))
    if parts > 1:
        found.append(_parts(document.id, question, part, parts))
    if not text.strip():
        empty = element("i", "only white space" if text else "an empty text")
        found.append(element("div", empty, class_="text whole"))
    else:
        shown = marked(text, spans, start, stop, before + 1)
        found.append(text_block("div", shown, text=text, class_="whole"))
    if parts > 1:
        found.append(_parts(document.id, question, part, parts))
    return element("section", *found, aria_labelledby="text")


def _matches(id: DocumentId, question: Question, spans: Sequence[Span], before: int, here: int) -> Markup:  # fmt: skip
    """Links to the marks: those of this part first, then one to the next part that has more."""
    links = [
        element("a", str(number), href=f"#match-{number}")
        for number in range(before + 1, before + 1 + min(here, _LINKS))
    ]
    if here > _LINKS:
        links.append(element("a", f"{before + here}", href=f"#match-{before + here}"))
        links.insert(-1, element("span", "…", aria_hidden="true"))
    for number, name in ((before, "before"), (before + here + 1, "further on")):
        if 1 <= number <= len(spans):
            part = spans[number - 1].start // PART + 1
            address = link_to_document(id, f"{question.query()}&part={part}", f"match-{number}")
            links.append(element("a", f"{number} {name}", href=address))
    name = f"{len(spans):,} match{'' if len(spans) == 1 else 'es'}: "
    return element("nav", element("span", name), *links, class_="matches", aria_label="Matches")


def _parts(id: DocumentId, question: Question, part: int, parts: int) -> Markup:
    query = question.query() + "&" if question.text else ""

    def link(name: str, number: int) -> Markup:
        if 1 <= number <= parts:
            return element("a", name, href=link_to_document(id, f"{query}part={number}", "text"))
        return element("span", name, aria_hidden="true", class_="off")

    shown = [
        link("Previous part", part - 1),
        element("span", f"Part {part:,} of {parts:,}", class_="here"),
        link("Next part", part + 1),
    ]
    return element("nav", *shown, class_="pages", aria_label="Parts of the document")


def _steps(id: DocumentId, trace: Trace | None, seen: Sequence[Seen]) -> Markup:
    parts = [element("h2", "Seen at steps", id="steps")]
    if trace is None:
        parts.append(element("p", "No run was given. Start the server with --run=MODEL_DIR to see when a model saw this document.", class_="muted"))  # fmt: skip
    else:
        parts.append(element("p", _said(id, trace, seen)))
        if seen:
            rows = [
                (f"{one.step:,}", "seen" if one.step < trace.trained_steps else "to come", f"{one.row:,}", f"{one.epoch:,}",
                 f"{one.start:,} to {one.stop - 1:,}")
                for one in seen[:_ROWS]
            ]  # fmt: skip
            columns = [("Step", "number"), ("State", ""), ("Row", "number"), ("Epoch", "number"), ("Tokens", "number")]  # fmt: skip
            parts.append(
                element("div", table("Seen at steps", columns, rows), class_="steps-table")
            )
            if len(seen) > _ROWS:
                parts.append(element("p", f"and {len(seen) - _ROWS:,} more", class_="muted"))
    return element("section", *parts, aria_labelledby="steps")


def _said(id: DocumentId, trace: Trace, seen: Sequence[Seen]) -> str:
    made = f"The run {trace.run_dir.name} has made {trace.trained_steps:,} of {counted(trace.total_steps, 'step')}, counted from 0"  # fmt: skip
    if id.subset not in trace.sources or id.split != "train":
        return f"{made}. It is not trained on {id.subset}/{id.split}."
    if not seen:
        return f"{made}. No token of this document is in any of them."
    done = sum(one.step < trace.trained_steps for one in seen)
    return f"{made}. It saw tokens of this document in {counted(done, 'row')}; in {len(seen) - done:,} they are to come."


def _known(document: IndexedDocument) -> Markup:
    items = [("Source", document.source), ("Licence", document.licence or "unknown")]
    ids = document.tokens[:_IDS].tolist()
    cut = " …" if len(document.tokens) > _IDS else ""
    named = folded(
        f"{counted(len(document.tokens), 'token id')}",
        element("p", " ".join(map(str, ids)) + cut, class_="code ids"),
    )
    return element(
        "section",
        element("h2", "What is known of it", id="known"),
        listed(*items, *_meta(document.meta)),
        named,
        aria_labelledby="known",
    )


def _meta(meta: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """The fields of a document's line. Only an address of the web becomes a link, and only when it is nothing else."""
    items = []
    for name, value in meta.items():
        written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        cut = f"{written[:_VALUE]} …" if len(written) > _VALUE else written
        if isinstance(value, str) and len(value) <= _VALUE and _URL.fullmatch(value):
            shown = element("a", cut, href=value, rel="noopener noreferrer nofollow external")
        else:
            shown = join([cut])
        items.append((f"meta: {name[:100]}", shown))
    return items
