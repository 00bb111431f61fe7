"""Filters and maps: plain functions on documents, by the names that gin files use.

A filter is `name(document, *, parameters) -> bool`: True keeps. A map is `name(document, *, parameters) -> document`; it may change the
document that it is given. Corpus v1's come from llm-jp-corpus and HojiChar, corpus v2's from Uzushio; each module names its source.
`LEFT_OUT` has, for steps that the user may leave out, what to say when he does.
"""

from __future__ import annotations

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
    word_types,
)

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
LEFT_OUT: dict[str, Callable[[Mapping[str, Any]], str | None]] = {
    "kenlm_doc_avg_perplexity": perplexity.left_out,
    "kenlm_paragraph_perplexity": perplexity.left_out,
}
