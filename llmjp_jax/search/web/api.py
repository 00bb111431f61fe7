"""The answers of the pages as JSON, for programs: the same fields as the command line's --json."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from llmjp_jax.search.attribution import Attribution
from llmjp_jax.search.corpus_index import CorpusIndex
from llmjp_jax.search.results import Hit, IndexedDocument, Results


def stores_content(index: CorpusIndex) -> dict[str, Any]:
    """What the index holds."""
    names = ("subset", "split", "documents", "tokens", "characters", "licence", "fingerprint")
    return {
        "stores": [{name: getattr(info, name) for name in names} for info in index.stores.values()]
    }


def results_content(results: Results) -> dict[str, Any]:
    """Counts, of each store too, hits and time."""
    stores = [
        {"subset": subset, "split": split, **counts._asdict()}
        for (subset, split), counts in results.by_store.items()
    ]
    return {
        **results.counts._asdict(),
        "stores": stores,
        "hits": [_hit(hit) for hit in results.hits],
        "seconds": results.seconds,
    }


def document_content(document: IndexedDocument, seen: Sequence[Any] | None) -> dict[str, Any]:
    """A document. `seen`: None where no run was given."""
    return {
        "document": str(document.id),
        "text": document.text,
        "tokens": document.tokens.tolist(),
        "meta": dict(document.meta),
        "source": document.source,
        "licence": document.licence,
        "seen": None if seen is None else _steps(seen),
    }


def attribution_content(found: Attribution) -> dict[str, Any]:
    """The spans of a text, in characters, with their documents."""
    spans = [
        {
            "start": span.start,
            "stop": span.stop,
            "text": span.text,
            "size": span.size,
            **span.counts._asdict(),
            "hits": [
                _hit(document.hit) | {"tokens": document.tokens, "seen": _steps(document.steps)}
                for document in span.documents
            ],
        }
        for span in found.spans
    ]
    return {
        "covered": found.covered,
        "minimum": found.minimum,
        "trained_steps": found.trained_steps,
        "spans": spans,
    }


def _hit(hit: Hit) -> dict[str, Any]:
    return vars(hit) | {"document": str(hit.document)}


def _steps(seen: Iterable[Any]) -> list[dict[str, int]]:
    return [one._asdict() for one in seen]
