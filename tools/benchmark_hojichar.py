"""The peer of the corpus benchmark: corpus v1's steps for Japanese web pages as llm-jp-corpus runs them, on HojiChar's own classes.

Each class is applied on its own, without HojiChar's Compose, whose statistics cost time: so does the reference. What HojiChar does not
have (domain, compression, extraction) is plain Python, as there. Steps have the names and parameters of ours.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any
from urllib.parse import urlparse

import regex
from hojichar import Document, Filter
from hojichar.filters.document_filters import (
    AcceptJapanese,
    DiscardAds,
    DiscardRareKuten,
    NgWordsFilterJa,
)

from llmjp_jax.corpus.filters.word_lists import load_word_list
from llmjp_jax.corpus.pipeline.steps import Step
from llmjp_jax.errors import UserError

Judge = Callable[[dict[str, Any]], Any]


class _CountedNgWords(NgWordsFilterJa):
    """HojiChar's class rejects at the first word; LLM-jp patches it to reject above a number of words."""

    def __init__(self, name: str, limit: int):
        path = resources.files("hojichar") / "dict" / f"{name}_keywords_ja.txt"
        super().__init__(str(path), ignore_confused=True)
        self.limit = limit

    def apply(self, document: Document) -> Document:
        if len(self.keyword_pat.findall(document.text)) > self.limit:
            document.is_rejected = True
        return document


def hojichar_side(
    steps: Sequence[Step],
) -> Callable[[Sequence[dict[str, Any]]], list[tuple[str | None, str]]]:
    """Runs the steps over pages: for each the label of the filter that dropped it, or None, and its text then."""
    chain = [(step.label, step.kind == "filter", hojichar_step(step)) for step in steps]

    def run(pages: Sequence[dict[str, Any]]) -> list[tuple[str | None, str]]:
        results = []
        for page in pages:
            document, reason = dict(page), None
            for label, is_filter, function in chain:
                if not is_filter:
                    document = function(document)
                elif not function(document):
                    reason = label
                    break
            results.append((reason, document["text"]))
        return results

    return run


def hojichar_step(step: Step) -> Judge:
    """The same step as ours: a filter `document -> bool`, or the map `extract_japanese`.

    Raises:
      UserError: there is no such step of HojiChar's or LLM-jp's for Japanese web pages, or its word list is not HojiChar's.
    """
    given = {name: value for name, value in step.parameters.items() if name != "folder"}
    if given.pop("word_list", f"hojichar_{step.name}") != f"hojichar_{step.name}":
        raise UserError(
            f"{step.label}: HojiChar's classes are timed with HojiChar's lists; leave word_list out, or give --no_peer"
        )
    if step.name in ("adult", "discrimination", "violence"):
        return _judged_by(_CountedNgWords(step.name, given["limit"]))
    makers = {
        "valid_domain": _valid_domain,
        "not_empty": lambda: lambda document: document["text"].strip() != "",
        "is_japanese": lambda lookup: _judged_by(AcceptJapanese(lookup_size=lookup)),
        "advertisements": lambda limit: _judged_by(DiscardAds(max_allowed_num=limit)),
        "average_sentence_length": lambda limit: _judged_by(
            DiscardRareKuten(max_average_sentence_length=limit)
        ),
        "compression_ratio": _compression_ratio,
        "extract_japanese": _extract_japanese,
    }
    if step.name not in makers:
        raise UserError(
            f"{step.label} is no step of llm-jp-corpus for Japanese web pages; give --no_peer"
        )
    return makers[step.name](**given)


def _judged_by(filter_: Filter) -> Judge:
    return lambda document: not filter_.apply(Document(document["text"])).is_rejected


def _valid_domain() -> Judge:
    domains = set(load_word_list("llm_jp_domains"))

    def keep(document: dict[str, Any]) -> bool:
        url = document["meta"]["url"]
        if url.startswith("https://ja.wikipedia.org/"):
            return False
        return urlparse(url).hostname.split(".")[-1] in domains

    return keep


def _compression_ratio(low: float, high: float) -> Judge:
    def keep(document: dict[str, Any]) -> bool:
        data = document["text"].encode()
        return low <= len(zlib.compress(data, level=9)) / len(data) <= high

    return keep


def _extract_japanese() -> Judge:
    kana = regex.compile(r"[\p{Script=Hiragana}\p{Script=Katakana}ー]+")
    address = regex.compile(r"https?://[\w/:%#\$&\?\(\)~\.=\+\-]+")
    code = regex.compile(r"[\x00-\x7f]{100,}")

    def extracted(document: dict[str, Any]) -> dict[str, Any]:
        text = ""
        for line in document["text"].split("\n"):
            if kana.search(line):
                text += code.sub("", address.sub("", line))
        document["text"] = text
        return document

    return extracted
