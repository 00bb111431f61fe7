"""An attribution to look at: the text with its spans in colour, in a terminal or as a page, and what is known of each span.

`fragments` is for a page of somebody else's; its look is highlight.css. Finding spans is `attribution`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from llmjp_jax.corpus.pipeline import report_elements
from llmjp_jax.corpus.pipeline.report_elements import Markup, element, join
from llmjp_jax.search.attribution import AttributedSpan, Attribution, SpanDocument
from llmjp_jax.search.results import DocumentId

STYLES = Path(__file__).with_name("highlight.css")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_HUES = 6
_STEPS = 8  # of a document that are named
_LONG = 300  # characters of a span that its entry shows
_JAPANESE = re.compile("[\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f]")

Link = Callable[[DocumentId], str]


class Segment(NamedTuple):
    """A piece of the text that looks the same all through.

    Attributes:
      begins: numbers of the spans that begin with it.
      span: number of the first span in rank that it is part of, from 1; 0: of none.
      shared: it is part of others too.
    """

    text: str
    begins: tuple[int, ...]
    span: int
    shared: bool


def segments(attribution: Attribution) -> Iterator[Segment]:
    """The text of an attribution cut where what covers it changes."""
    size, spans = len(attribution.text), attribution.spans
    owner, depth = np.zeros(size, np.int64), np.zeros(size + 1, np.int64)
    begins: dict[int, list[int]] = {}
    for number, span in reversed(list(enumerate(spans, 1))):
        owner[span.start : span.stop] = number
        depth[span.start] += 1
        depth[span.stop] -= 1
        begins.setdefault(span.start, []).insert(0, number)
    shared = np.cumsum(depth)[:size] > 1
    changes = np.flatnonzero((np.diff(owner) != 0) | (np.diff(shared) != 0)) + 1
    places = sorted({0, size, *changes.tolist(), *begins})
    for start, stop in zip(places, places[1:], strict=False):
        numbers = tuple(begins.get(start, ()))
        yield Segment(attribution.text[start:stop], numbers, int(owner[start]), bool(shared[start]))


def _hues(attribution: Attribution) -> dict[int, int]:
    """The colour of each span by its number: spans that follow one another have different ones."""
    numbered = sorted(enumerate(attribution.spans, 1), key=lambda one: one[1].start)
    return {number: place % _HUES for place, (number, _) in enumerate(numbered)}


# In words, for both.


def summary(attribution: Attribution) -> str:
    """How much of the text stands in the corpus, in a sentence."""
    size, spans = len(attribution.text), attribution.spans
    if not spans:
        return (
            f"None of {_counted(size, 'character')} stands in the corpus in a span of at least "
            f"{_counted(attribution.minimum, 'byte')} of letters and digits."
        )
    share = attribution.covered * 100
    return (
        f"{share:.0f} % of {_counted(size, 'character')} "  # fmt: skip
        f"{'stands' if share < 1.5 else 'stand'} in the corpus word for word, in "
        f"{_counted(len(spans), 'span')} of at least {_counted(attribution.minimum, 'byte')} of letters and digits."
    )


def found(span: AttributedSpan) -> str:
    """Where a span stands, in a few words."""
    counts = span.counts
    places = f"{_counted(len(span.text), 'character')}, in {_counted(counts.documents, 'document')}"
    if counts.occurrences != counts.documents:
        places += f", {_counted(counts.occurrences, 'time')}"
    return places


def steps(document: SpanDocument, trained_steps: int) -> str:
    """When a run saw a document's part, or will see it, in a sentence."""
    unknown = "the document (it is not known which of its tokens hold the span)"
    what = unknown if document.whole else "it"
    if not document.steps:
        return f"The run never sees {what}."
    first, stop = document.tokens
    rows: dict[tuple[int, int], bool] = {}  # whether all of it is in that row
    for seen in document.steps:
        place, whole = (seen.step, seen.row), seen.stop - seen.start == stop - first
        rows[place] = rows.get(place, False) or whole
    saw = [row for row in sorted(rows.items()) if row[0][0] < trained_steps]
    later = [row for row in sorted(rows.items()) if row[0][0] >= trained_steps]
    if not saw:
        return f"The run will see {what} at {_rows(later)}."
    more = f", and will see it at {_rows(later)}" if later else ""
    return f"The run saw {what} at {_rows(saw)}{more}."


def _rows(rows: Sequence[tuple[tuple[int, int], bool]]) -> str:
    named = ", ".join(
        f"step {step:,} (row {row:,}{'' if whole else ', in part'})"
        for (step, row), whole in rows[:_STEPS]
    )
    more = len(rows) - _STEPS
    return f"{named} and {more:,} more" if more > 0 else named


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _shortened(text: str) -> str:
    """A text as an entry of the list shows it: a long one without its middle."""
    if len(text) <= _LONG:
        return text
    return f"{text[: _LONG * 2 // 3]} … {text[-_LONG // 3 :]}"


# In a terminal.


def terminal(attribution: Attribution, colours: bool | None = None) -> str:
    """The text with its spans in colour, each behind its number, then the list of spans with their documents.

    Without colours a span stands in brackets with its number, `[1: ...]`. Control characters show as pictures of them, so that
    no text steers the terminal.

    Args:
      colours: whether to write ANSI colours; None: if stdout is a terminal, and NO_COLOR is not set.
    """
    if colours is None:
        colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    hues = _hues(attribution)
    text = _coloured(attribution, hues) if colours else _bracketed(attribution)
    lines = [summary(attribution), "", text]
    for number, span in enumerate(attribution.spans, 1):
        name = _colour(f" {number} ", hues[number]) if colours else f"[{number}]"
        lines += ["", f"{name} {found(span)}", *_indented(_shortened(span.text))]
        for document in span.documents:
            hit = document.hit
            lines.append(
                f"  {hit.document}  {_line(hit.source)}  {_line(hit.licence or 'licence unknown')}"
            )
            if attribution.trained_steps is not None:
                lines.append(f"    {steps(document, attribution.trained_steps)}")
        if more := _more(span):
            lines.append(f"  {more}")
    return "\n".join(lines)


def _coloured(attribution: Attribution, hues: dict[int, int]) -> str:
    pieces = []
    for text, begins, number, shared in segments(attribution):
        pieces += [_colour(f"\x1b[1m {first} ", hues[first]) for first in begins]
        lines = report_elements.printable(text).split("\n")
        if number:  # a colour that goes on to the next line would fill the rest of this one
            lines = [_colour(line, hues[number], shared) if line else "" for line in lines]
        pieces.append("\n".join(lines))
    return "".join(pieces)


def _colour(text: str, hue: int, underlined: bool = False) -> str:
    ground = (103, 106, 102, 105, 104, 101)[hue]
    return f"\x1b[30;{ground}{';4' if underlined else ''}m{text}\x1b[0m"


def _bracketed(attribution: Attribution) -> str:
    text, marks = attribution.text, []
    for number, span in enumerate(attribution.spans, 1):
        # Of two at the same place the end comes first.
        marks += [(span.start, 1, f"[{number}: "), (span.stop, 0, "]")]
    pieces, done = [], 0
    for place, _, mark in sorted(marks):
        pieces += [report_elements.printable(text[done:place]), mark]
        done = place
    return "".join(pieces) + report_elements.printable(text[done:])


def _indented(text: str) -> list[str]:
    return [f"    {line}" for line in report_elements.printable(text).strip("\n").split("\n")]


def _line(text: str) -> str:
    return " ".join(report_elements.printable(text).split())


def _more(span: AttributedSpan) -> str:
    more = span.counts.documents - len(span.documents)
    return f"and {_counted(more, 'more document')}" if more else ""


# As a page.


def html(
    attribution: Attribution, link: Link | None = None, title: str = "Attribution of a text"
) -> str:
    """A page that needs nothing but itself: no script, nothing from elsewhere, whatever the text or the corpus says.

    Args:
      link: the address of a document.
    """
    styles = (Path(report_elements.__file__).with_name("report.css"), STYLES)
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("link", rel="icon", href="data:,"),
        element("title", title),
        element("style", Markup("\n".join(file.read_text(encoding="utf-8") for file in styles))),
    )
    main = element("main", element("h1", title), fragments(attribution, link))
    return "<!DOCTYPE html>\n" + element("html", head, element("body", main), lang="en") + "\n"


def fragments(attribution: Attribution, link: Link | None = None) -> Markup:
    """The part of a page that shows an attribution, once a page; the page around it needs report.css and highlight.css.

    Each span has its number before it, a link to its entry in the list, which links back.

    Args:
      link: the address of a document; None: its name is no link.
    """
    hues = _hues(attribution)
    parts = [
        element("p", summary(attribution), class_="summary"),
        element(
            "div",
            *_marked(attribution, hues),
            class_="attributed",
            lang=_language(attribution.text),
            role="region",
            aria_label="The text with its spans",
        ),
    ]
    if attribution.spans:
        entries = (
            _entry(number, span, hues[number], attribution.trained_steps, link)
            for number, span in enumerate(attribution.spans, 1)
        )
        parts += [element("h2", "Spans", id="spans"), element("ol", *entries, class_="spans")]
    return join(parts)


def _marked(attribution: Attribution, hues: dict[int, int]) -> Iterator[Markup]:
    for text, begins, number, shared in segments(attribution):
        for first in begins:
            yield _number(first, hues[first], f"at-{first}", f"#span-{first}", f"Span {first}")
        if number:
            # The numbers are for the keyboard: a second stop at every piece of a span would be in the way.
            kind = f"span hue-{hues[number]}{' shared' if shared else ''}"
            yield element("a", text, class_=kind, href=f"#span-{number}", tabindex="-1")
        else:
            yield join([text])


def _number(number: int, hue: int, id: str | None, href: str, label: str) -> Markup:
    kind = f"span-number hue-{hue}"
    return element("a", str(number), class_=kind, id=id, href=href, aria_label=label)


def _entry(
    number: int, span: AttributedSpan, hue: int, trained_steps: int | None, link: Link | None
) -> Markup:
    back = _number(number, hue, None, f"#at-{number}", f"Back to span {number} in the text")
    documents = [_document(document, trained_steps, link) for document in span.documents]
    if more := _more(span):
        documents.append(element("li", more, class_="muted"))
    return element(
        "li",
        element("p", back, " ", found(span), class_="found"),
        element("blockquote", _shortened(span.text), lang=_language(span.text)),
        element("ul", *documents) if documents else "",
        id=f"span-{number}",
        tabindex="-1",
    )


def _document(document: SpanDocument, trained_steps: int | None, link: Link | None) -> Markup:
    hit = document.hit
    name = str(hit.document)
    parts = [
        element("a", name, href=link(hit.document)) if link else element("strong", name),
        element("span", f" {hit.source} · {hit.licence or 'licence unknown'}", class_="muted"),
    ]
    if hit.before or hit.after:
        match = element("mark", _shortened(hit.match))
        language = _language(hit.before + hit.match + hit.after)
        parts.append(element("p", hit.before, match, hit.after, class_="context", lang=language))
    if trained_steps is not None:
        parts.append(element("p", steps(document, trained_steps), class_="steps"))
    return element("li", *parts)


def _language(text: str) -> str | None:
    """Japanese shapes of Han characters, and the voice that reads them, where a text has kana in it."""
    return "ja" if _JAPANESE.search(text) else None
