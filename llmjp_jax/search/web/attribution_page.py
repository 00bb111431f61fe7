"""The page where a reader pastes a text, and sees what of it stands in the corpus. Finding that is for `search.attribution`."""

from __future__ import annotations

from llmjp_jax.corpus.pipeline.report_elements import Markup, element
from llmjp_jax.search import highlight
from llmjp_jax.search.attribution import Attribution
from llmjp_jax.search.corpus_index import CorpusIndex
from llmjp_jax.search.results import Counts, DocumentId
from llmjp_jax.search.web.layout import filters, language, link_to_document, page
from llmjp_jax.search.web.question import LONGEST, Question

_MARKED = 500  # characters of a span that goes into an address


def attribution_page(index: CorpusIndex, question: Question, found: Attribution | None) -> str:
    """The form, and below it the attribution of its text, if there is one."""
    by_store = {key: Counts(store.documents, 0) for key, store in index.stores.items()}
    parts = [
        element("h1", "Attribute a text"),
        element(
            "p",
            "Paste a text, such as what a model wrote. Its longest stretches that stand in the corpus word for word are shown, with "
            "the documents that hold them.",
        ),
        _form(question, by_store),
    ]
    if found is not None:
        parts.append(
            element(
                "section",
                element("h2", "What stands in the corpus", id="found", tabindex="-1"),
                highlight.fragments(found, _links(found)),
                aria_labelledby="found",
                class_="attribution",
            )
        )
    skip = "text" if found is None else "found"
    return page("Attribute a text", *parts, at="/attribute", skip=skip)


def _links(found: Attribution) -> highlight.Link:
    """A document's address, with the longest span that it holds to be marked there."""
    spans = {
        hit.document: span.text
        for span in reversed(found.spans)
        for hit in span.hits
        if len(span.text) <= _MARKED
    }

    def link(document: DocumentId) -> str:
        if document not in spans:
            return link_to_document(document)
        return link_to_document(document, Question(text=spans[document]).query(), "match-1")

    return link


def _form(question: Question, by_store) -> Markup:
    # A browser drops a line end that follows the tag.
    box = element(
        "textarea",
        Markup("\n"),
        question.text,
        id="text",
        name="text",
        rows="8",
        lang=language(question.text),
        spellcheck="false",
        required=True,
        aria_describedby="limit",
    )
    return element(
        "form",
        element("label", "Text", for_="text"),
        box,
        element("p", f"At most {LONGEST:,} characters.", id="limit", class_="muted"),
        filters(question, by_store),
        element("p", element("button", "Attribute"), class_="submit"),
        action="/attribute#found",
        method="post",
        class_="attribute",
    )
