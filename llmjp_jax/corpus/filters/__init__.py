"""Filters and maps: plain functions on documents, by the names that gin files use.

A filter is `name(document, *, parameters) -> bool`: True keeps. A map is `name(document, *, parameters) -> document`; it may change the
document that it is given. Corpus v1's come from llm-jp-corpus and HojiChar, corpus v2's from Uzushio; each module names its source.
`prepare` loads what a step needs beforehand, `forget` lets go of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from llmjp_jax.corpus.filters import (
    dom,
    frequency,
    japanese,
    keywords,
    metadata,
    perplexity,
    ratios,
    text,
    wikipedia,
    word_lists,
    word_types,
)
from llmjp_jax.corpus.filters.word_lists import load_word_list

FILTERS: dict[str, Callable[..., bool]] = {
    function.__name__: function
    for function in (
        metadata.valid_domain,
        metadata.not_pile_set,
        metadata.valid_extension,
        metadata.max_line_length,
        metadata.average_line_length,
        metadata.alphanum_fraction,
        text.not_empty,
        text.compression_ratio,
        japanese.is_japanese,
        japanese.average_sentence_length,
        keywords.advertisements,
        keywords.adult,
        keywords.discrimination,
        keywords.violence,
        ratios.doc_length,
        ratios.hiragana_ratio,
        ratios.link_char_ratio,
        ratios.compression_rate,
        frequency.deduplicate_documents_percentile,
        perplexity.kenlm_doc_avg_perplexity,
        word_types.word_types,
    )
}
MAPS: dict[str, Callable[..., dict[str, Any]]] = {
    function.__name__: function
    for function in (
        japanese.extract_japanese,
        wikipedia.cut_footnotes,
        wikipedia.clean_parentheses,
        dom.merge_list_tag,
        dom.markdownize_heading,
        dom.no_content_dom,
        frequency.large_freq_paragraphs,
        perplexity.kenlm_paragraph_perplexity,
    )
}


def prepare(name: str, parameters: Mapping[str, Any]) -> str | None:
    """Loads the word list or model that a step needs, so that a mistake shows before the first document.

    Returns: a sentence for the user about a step that will do nothing because he said so; else None.

    Raises:
      UserError: a list or a model is missing or broken.
    """
    if name in perplexity.STEPS:
        return perplexity.prepare(name, parameters)
    function = FILTERS.get(name) or MAPS[name]
    given = inspect.signature(function).bind(None, **parameters)
    given.apply_defaults()
    if "word_list" in given.arguments:
        load_word_list(given.arguments["word_list"], given.arguments["folder"])
    return None


def forget() -> None:
    """Drops what the steps keep of word lists and models, whose files may have changed since."""
    for module in (keywords, metadata, perplexity, wikipedia, word_lists, word_types):
        for kept in vars(module).values():
            if callable(getattr(kept, "cache_clear", None)):
                kept.cache_clear()
