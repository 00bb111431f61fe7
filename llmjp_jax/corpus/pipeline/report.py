"""The report of a corpus build: one HTML file to look at, and a few lines for the terminal.

What comes in are the statistics of each corpus (their fields: see `write_report`); nothing is
counted here. The file needs nothing but itself: styles and pictures are inside, there is no script, and its content
security policy forbids the browser to load or run anything, whatever a document's text says.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from llmjp_jax.corpus.pipeline.report_elements import Markup, element, join, printable, table
from llmjp_jax.corpus.pipeline.report_quantities import change, count, counted, share, size
from llmjp_jax.corpus.pipeline.report_sections import corpus_section, ends
from llmjp_jax.corpus.pipeline.statistics import SCRIPTS
from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write

FORMAT = 1
FIELDS = (
    "corpus", "format", "configuration", "steps", "broken", "notes", "dropped_samples", "kept_samples",
    "histograms", "outputs",
)  # fmt: skip

_LONGEST_NAME = 48  # of a step, in the terminal
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def write_report(statistics: Sequence[Mapping], path: str | os.PathLike) -> None:
    """Writes the page about these corpora; the same statistics give the same bytes.

    Args:
      statistics: one dict a corpus with the fields `FIELDS`. `steps` are in the pipeline's order, the first one reads;
        sizes are bytes of text in UTF-8; `histograms` has documents by length in characters and characters by script,
        of what the first step let through ("input") and of what was written ("output").
      path: the HTML file, which appears whole or not at all.

    Raises:
      UserError: a corpus lacks a field, or its statistics have another format.
    """
    for corpus in statistics:
        _check(corpus)
    with atomic_write(path) as file:
        file.write(_page(statistics).encode())


def _check(corpus: Mapping) -> None:
    name = corpus.get("corpus", "without a name")
    missing = [field for field in FIELDS if field not in corpus]
    if missing:
        raise UserError(
            f"the statistics of corpus {name} have no field {missing[0]!r}: build the corpus again with this version"
        )
    if corpus["format"] != FORMAT:
        raise UserError(
            f"the statistics of corpus {name} have format {corpus['format']!r}, and this version reads format {FORMAT}: "
            "build the corpus again with it"
        )
    length = corpus["histograms"]["length"]
    bins = len(length["input"])
    if len(length["output"]) != bins or len(length["edges"]) not in (bins, bins + 1):
        raise UserError(
            f"the length histogram of corpus {name} has {len(length['edges'])} edges, {bins} input bins and "
            f"{len(length['output'])} output bins: give n bins, and n + 1 edges or n where the last bin is open"
        )
    for side, characters in corpus["histograms"]["script"].items():
        if unknown := sorted(set(characters) - set(SCRIPTS)):
            raise UserError(
                f"the {side} script histogram of corpus {name} has {unknown[0]!r}: the scripts are {', '.join(SCRIPTS)}"
            )


def _page(statistics: Sequence[Mapping]) -> str:
    names = ", ".join(corpus["corpus"] for corpus in statistics)
    css = Path(__file__).with_name("report.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("link", rel="icon", href="data:,"),
        element("title", f"Corpus report: {names}" if names else "Corpus report"),
        element("style", Markup(css)),
    )
    sections = [corpus_section(place, corpus) for place, corpus in enumerate(statistics, 1)]
    main = element(
        "main", element("h1", "Corpus report", id="top"), _overview(statistics), *sections
    )
    return "<!DOCTYPE html>\n" + element("html", head, element("body", main), lang="en") + "\n"


def _overview(statistics: Sequence[Mapping]) -> Markup:
    """One row a corpus: what came in, what is left."""
    if not statistics:
        return element("p", "There is no corpus in these statistics.")
    rows, totals = [], [0] * 5
    for place, corpus in enumerate(statistics, 1):
        numbers = [*ends(corpus), corpus["broken"]["total"]]
        totals = [total + number for total, number in zip(totals, numbers, strict=True)]
        link = element("a", corpus["corpus"], href=f"#corpus-{place}")
        rows.append([link, *_overview_cells(numbers)])
    columns = [("Corpus", "")] + [
        (name, "number")
        for name in ("Documents in", "Documents left", "Kept", "Text in", "Text left", "Kept", "Broken records")
    ]  # fmt: skip
    total = ["All", *_overview_cells(totals)] if len(rows) > 1 else None
    explained = (
        "What came in, and what the pipeline left of it. 1\u00a0MB is a million bytes of UTF-8."
    )
    return join([element("p", explained, class_="muted"), table("Overview", columns, rows, total)])


def _overview_cells(numbers: Sequence[int]) -> list[str]:
    documents_in, documents_out, bytes_in, bytes_out, broken = numbers
    documents = [count(documents_in), count(documents_out), share(documents_out, documents_in)]
    return [*documents, size(bytes_in), size(bytes_out), share(bytes_out, bytes_in), count(broken)]


def summary_lines(statistics: Sequence[Mapping]) -> list[str]:
    """The statistics for a terminal: for each corpus a table of its steps, and one line that sums it up.

        ja_cc                      documents    dropped   share        text
          read                         1,000          0     0 %     3.40 MB
          is_japanese(lookup=50)         900        100  10.0 %     3.10 MB
          900 of 1,000 documents kept (90.0 %), 3.10 MB of 3.40 MB; 2 broken records

    Raises:
      UserError: a corpus lacks a field, or its statistics have another format.
    """
    lines = []
    for corpus in statistics:
        _check(corpus)
        rows = [[corpus["corpus"], "documents", "dropped", "share", "text"]]
        for step in corpus["steps"]:
            came, left = step["documents_in"], step["documents_out"]
            dropped = count(came - left) if left <= came else f"+{count(left - came)}"
            lost = share(came - left, came) if left <= came else change(came, left)
            rows.append(["  " + step["step"], count(left), dropped, lost, size(step["bytes_out"])])
        lines += _aligned(rows)
        documents_in, documents_out, bytes_in, bytes_out = ends(corpus)
        broken = corpus["broken"]["total"]
        lines.append(
            f"  {count(documents_out)} of {counted(documents_in, 'document')} kept "
            f"({share(documents_out, documents_in)}), {size(bytes_out)} of {size(bytes_in)}"
            + (f"; {counted(broken, 'broken record')}" if broken else "")
        )
        lines += [f"  note: {note}" for note in corpus["notes"]]
    return [printable(line).replace("\u00a0", " ").replace("\n", " ") for line in lines]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """First column to the left, cut where it is very long; the others to the right."""
    rows = [[_cut(first, _LONGEST_NAME), *others] for first, *others in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
