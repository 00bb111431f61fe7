"""The front page, which says what the index holds, and the page of a question's answer."""

from __future__ import annotations

import re
from collections.abc import Sequence

from llmjp_jax.corpus.pipeline.report_elements import Markup, breakable, element, join, table
from llmjp_jax.search.corpus_index import CorpusIndex
from llmjp_jax.search.results import Counts, Hit, Results
from llmjp_jax.search.web.layout import (
    ByStore,
    counted,
    link_to_document,
    listed,
    page,
    search_form,
    text_block,
)
from llmjp_jax.search.web.places import excerpt, marked, merged, word_places
from llmjp_jax.search.web.question import EXACT, MODES, Question, last_page

_LONG = 400  # characters of a match that its hit shows
_BLANK = re.compile(r"\n\s*\n")


def front_page(index: CorpusIndex, question: Question, modes: Sequence[str]) -> str:
    """What is there, and the search box."""
    stores = index.stores.values()
    rows = [
        (
            f"{store.subset}/{store.split}",
            f"{store.documents:,}",
            f"{store.tokens:,}",
            f"{store.characters:,}",
            store.licence_words or "not known",
        )
        for store in stores
    ]
    names = ("documents", "tokens", "characters")
    totals = [f"{sum(getattr(store, name) for store in stores):,}" for name in names]
    columns = [("Store", "code"), *((name.capitalize(), "number") for name in names), ("Licence", "")]  # fmt: skip
    by_store = {key: Counts(store.documents, 0) for key, store in index.stores.items()}
    return page(
        "",
        element("h1", "Search the training corpus"),
        search_form(question, modes, by_store, focus=True),
        element(
            "section",
            element("h2", "What is in it", id="stores"),
            table("What is in it", columns, rows, ("All", *totals, "")),
            aria_labelledby="stores",
        ),
        element(
            "section",
            element("h2", "Ways to find", id="ways"),
            listed(*(MODES[mode] for mode in modes)),
            aria_labelledby="ways",
        ),
    )


def results_page(question: Question, results: Results, by_store: ByStore, modes: Sequence[str], texts: Sequence[str]) -> str:  # fmt: skip
    """The hits of a question.

    Args:
      by_store: counts in all stores, those that were filtered out too.
      texts: of ranked documents, each hit's whole text.
    """
    parts = [search_form(question, modes, by_store)]
    last = last_page(question, results)
    if question.page > last:
        first = element("a", "Go to the last one.", href=f"/?{question.query(last)}")
        message = element("p", f"The answer has no page {question.page:,}. ", first)
        parts += [_heading(question, results), message]
    elif not results.hits:
        parts.append(_nothing(question, modes))
    else:
        hits = [
            _hit(question, hit, texts[number] if texts else "")
            for number, hit in enumerate(results.hits)
        ]
        listing = element("ol", *hits, class_="hits", start=str(question.offset + 1))
        found = [_heading(question, results), listing, _pages(question, last)]
        parts.append(
            element(
                "div",
                element("section", *found, aria_labelledby="results", class_="found"),
                _by_store(question, results),
                class_="answer",
            )
        )
    return page(question.text[:60], *parts, skip="results")


def _heading(question: Question, results: Results) -> Markup:
    documents, occurrences = results.counts
    if question.mode == "near":
        said = f"The nearest of {counted(documents, 'document')}"
    else:
        said = counted(documents, "document")
    about = [f"{results.seconds * 1000:,.0f} ms"]
    if question.mode in EXACT:
        about.insert(0, counted(occurrences, "occurrence"))
    return join(
        [
            element("h1", said, id="results", tabindex="-1"),
            element("p", " · ".join(about), class_="muted"),
        ]
    )


def _by_store(question: Question, results: Results) -> Markup:
    exact = question.mode in EXACT
    columns = [("Store", "code"), ("Documents", "number")]
    if exact:
        columns.append(("Occurrences", "number"))
    rows = [
        ("/".join(store), *(f"{count:,}" for count in counts[: len(columns) - 1]))
        for store, counts in results.by_store.items()
        if counts.documents
    ]
    none = len(results.by_store) - len(rows)
    total = ("All", *(f"{count:,}" for count in results.counts[: len(columns) - 1]))
    return element(
        "aside",
        element("h2", "By store", id="by-store"),
        table("By store", columns, rows, total if len(rows) > 1 else None),
        element("p", f"None in {counted(none, 'other')}.", class_="muted") if none else "",
        aria_labelledby="by-store",
    )


def _hit(question: Question, hit: Hit, text: str) -> Markup:
    anchor = "" if question.mode == "near" else "match-1"
    address = link_to_document(hit.document, question.query(), anchor)
    if hit.score is None:
        about = counted(hit.occurrences, "occurrence") if hit.occurrences > 1 else ""
    else:
        about = f"cosine {hit.score:.2f}" if question.mode == "near" else f"BM25 {hit.score:.1f}"
    name = element("h2", element("a", breakable(str(hit.document)), href=address))
    return element(
        "li",
        element("div", name, element("span", about, class_="muted"), class_="hit-head"),
        _shown(question, hit, text),
        element("p", origin(hit.source, hit.licence), class_="origin"),
    )


def _shown(question: Question, hit: Hit, text: str) -> Markup:
    if text:
        spans = merged(word_places(text[:200_000], question.text))
        start, stop = excerpt(text, spans)
        shown = [_cut(start > 0), marked(text, spans, start, stop), _cut(stop < len(text))]
        return text_block("blockquote", *shown, text=text[start:stop], lines=1)
    before, match, after = hit.before, hit.match, hit.after
    if not (before + match + after).strip():
        empty = element("i", "only white space" if before + match + after else "an empty text")
        return element("blockquote", element("mark", empty) if match else empty, class_="text")
    if match:
        before, after = before.lstrip("\n"), after.rstrip()
    if len(match) > _LONG:
        match = f"{match[: _LONG // 2]} … {match[-_LONG // 2 :]}"
    shown = [_cut(hit.start > question.context), _BLANK.sub("\n", before), element("mark", match) if match else "",
             _BLANK.sub("\n", after), _cut(len(hit.after) >= question.context)]  # fmt: skip
    return text_block("blockquote", *shown, text=before + match + after, lines=1)


def _cut(yes: bool) -> Markup:
    return element("span", "…", class_="muted") if yes else Markup("")


def origin(source: str, licence: str | None) -> Markup:
    """Where a document comes from, and under which licence."""
    return join([element("span", source), " ", element("span", licence or "licence unknown", class_="tag")])  # fmt: skip


def _nothing(question: Question, modes: Sequence[str]) -> Markup:
    advice = []
    if question.subsets or question.splits:
        everywhere = Question(text=question.text, mode=question.mode)
        advice.append(element("a", "Look in all subsets and splits", href=f"/?{everywhere.query()}"))  # fmt: skip
    if question.mode == "text":
        words = Question(
            text=question.text, mode="ranked", subsets=question.subsets, splits=question.splits
        )
        advice.append(element("a", "Look for its words", href=f"/?{words.query()}"))
        advice.append("Exact text counts case, width and spaces")
    if question.mode == "tokens":
        text = Question(text=question.text, subsets=question.subsets, splits=question.splits)
        advice.append(element("a", "Look for the exact text", href=f"/?{text.query()}"))
        advice.append("Elsewhere the same text can be cut into other tokens")
    return element(
        "section",
        element("h1", "Nothing found", id="results", tabindex="-1"),
        element("ul", *(element("li", one) for one in advice)) if advice else "",
        aria_labelledby="results",
        class_="found",
    )


def _pages(question: Question, last: int) -> Markup:
    if last == 1:
        return Markup("")

    def link(name: str, number: int, rel: str | None = None) -> Markup:
        if 1 <= number <= last and number != question.page:
            return element("a", name, href=f"/?{question.query(number)}", rel=rel)
        return element("span", name, aria_hidden="true", class_="off")

    shown = [
        link("First", 1), link("Previous", question.page - 1, "prev"),
        element("span", f"Page {question.page:,} of {last:,}", class_="here"),
        link("Next", question.page + 1, "next"), link("Last", last),
    ]  # fmt: skip
    return element("nav", *shown, class_="pages", aria_label="Pages of the answer")
