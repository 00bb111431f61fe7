"""What the report says about one corpus: its figures, the funnel, steps, histograms and files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from llmjp_jax.corpus.pipeline.report_elements import (
    Markup,
    breakable,
    element,
    folded,
    join,
    table,
)
from llmjp_jax.corpus.pipeline.report_pictures import (
    bar,
    bin_name,
    gutter,
    length_histogram,
    occupied,
    script_bar,
    swatch,
)
from llmjp_jax.corpus.pipeline.report_quantities import (
    NOTHING,
    change,
    count,
    counted,
    in_unit,
    share,
    size,
    unit_name,
    unit_of,
)
from llmjp_jax.corpus.pipeline.report_samples import kept, reasons
from llmjp_jax.corpus.pipeline.statistics import SCRIPTS

_SCRIPT_NAMES = {
    "hiragana": "hiragana ひらがな", "katakana": "katakana カタカナ", "han": "kanji 漢字", "latin": "Latin letters",
    "digit": "digits", "space": "spaces, line ends", "other": "other signs",
}  # fmt: skip


def ends(corpus: Mapping) -> tuple[int, int, int, int]:
    """Documents in and left, bytes in and left."""
    steps = corpus["steps"]
    if not steps:
        return 0, 0, 0, 0
    return (
        steps[0]["documents_in"],
        steps[-1]["documents_out"],
        steps[0]["bytes_in"],
        steps[-1]["bytes_out"],
    )


def corpus_section(place: int, corpus: Mapping) -> Markup:
    heading = f"corpus-{place}"
    documents_in = ends(corpus)[0]
    parts = [element("h2", corpus["corpus"], id=heading), _tiles(corpus), _notices(corpus)]
    if documents_in:
        parts += [_funnel(corpus["steps"])]
    if corpus["steps"]:
        parts += [_steps(corpus["steps"])]
    if documents_in:
        parts += [reasons(corpus), kept(corpus), _lengths(corpus), _scripts(corpus)]
    parts += [_broken(corpus["broken"]), _outputs(corpus["outputs"])]
    configuration = json.dumps(corpus["configuration"], indent=2, ensure_ascii=False, default=str)
    parts += [element("h3", "Configuration")]
    parts += [folded("How this corpus was built", element("pre", configuration))]
    parts += [element("p", element("a", "Back to the overview", href="#top"), class_="top")]
    return element("section", *parts, aria_labelledby=heading)


def _tiles(corpus: Mapping) -> Markup:
    documents_in, documents_out, bytes_in, bytes_out = ends(corpus)

    def tile(name: str, value: str, part: int = 0, whole: int = 0) -> Markup:
        below = f"{share(part, whole)} kept" if whole else "\u00a0"
        return element("div", element("dt", name), element("dd", value, element("small", below)))

    return element(
        "dl",
        tile("Documents in", count(documents_in)),
        tile("Documents left", count(documents_out), documents_out, documents_in),
        tile("Text in", size(bytes_in)),
        tile("Text left", size(bytes_out), bytes_out, bytes_in),
        class_="tiles",
    )


def _notices(corpus: Mapping) -> Markup:
    sentences = [*corpus["notes"], *_contradictions(corpus)]
    if not ends(corpus)[0]:
        sentences.insert(0, "No document came in: look at the inputs in the configuration below.")
    elif not ends(corpus)[1]:
        sentences.insert(0, "No document is left.")
    if not sentences:
        return Markup("")
    items = (element("li", sentence) for sentence in sentences)
    return element("div", element("ul", *items), class_="notice", role="note")


def _contradictions(corpus: Mapping) -> list[str]:
    """Numbers that should agree and do not: somewhere documents were lost or counted twice."""
    found, steps = [], corpus["steps"]
    for before, after in zip(steps, steps[1:], strict=False):
        if before["documents_out"] != after["documents_in"]:
            found.append(
                f"These numbers disagree: step {before['step']} let {counted(before['documents_out'], 'document')} "
                f"through, and the next step, {after['step']}, was given {count(after['documents_in'])}."
            )
    written = sum(output["documents"] for output in corpus["outputs"])
    if written != ends(corpus)[1]:
        found.append(
            f"These numbers disagree: the last step let {counted(ends(corpus)[1], 'document')} through, and the "
            f"output files hold {count(written)}."
        )
    return found


def _legend(*entries: tuple[str, str]) -> Markup:
    items = (element("li", swatch(kind), name) for kind, name in entries)
    return element("ul", *items, class_="legend")


def _funnel(steps: Sequence[Mapping]) -> Markup:
    """A row for the input and for each step: bars of what is left, with what the step took beside it."""
    most_documents = max(max(step["documents_in"], step["documents_out"]) for step in steps)
    most_bytes = max(max(step["bytes_in"], step["bytes_out"]) for step in steps)

    def row(name: str, documents: int, taken: int, text: int, text_taken: int) -> Markup:
        bars = [bar([("documents", documents), ("dropped", taken)], most_documents)]
        bars += [bar([("bytes", text), ("dropped", text_taken)], most_bytes)]
        values = (element("span", value) for value in (counted(documents, "document"), size(text)))
        return element(
            "li",
            element("span", breakable(name), class_="name code"),
            element("div", *bars, class_="bars"),
            element("span", *values, class_="values"),
        )

    rows = [row("input", steps[0]["documents_in"], 0, steps[0]["bytes_in"], 0)]
    for step in steps:
        documents, text = step["documents_out"], step["bytes_out"]
        taken, text_taken = step["documents_in"] - documents, step["bytes_in"] - text
        rows.append(row(step["step"], documents, taken, text, text_taken))
    legend = _legend(
        ("documents", "documents left"), ("bytes", "text left"), ("dropped", "taken by this step")
    )
    return join(
        [element("h3", "What each step leaves"), legend, element("ol", *rows, class_="funnel")]
    )


def _steps(steps: Sequence[Mapping]) -> Markup:
    power = unit_of(max(max(step["bytes_in"], step["bytes_out"]) for step in steps))
    unit = unit_name(power)
    columns = [("Step", "code"), ("Kind", "")] + [
        (name, "number")
        for name in ("Documents in", "Documents out", "Dropped", "Share", f"{unit} in", f"{unit} out", "Change")
    ]  # fmt: skip
    rows = []
    for step in steps:
        came, left = step["documents_in"], step["documents_out"]
        dropped = count(came - left) if left <= came else f"+{count(left - came)}"
        share_dropped = share(came - left, came) if left <= came else change(came, left)
        text = [in_unit(step["bytes_in"], power), in_unit(step["bytes_out"], power)]
        rows.append(
            [step["step"], step["kind"], count(came), count(left), dropped, share_dropped, *text,
             change(step["bytes_in"], step["bytes_out"])]
        )  # fmt: skip
    return join([element("h3", "Steps in numbers"), table("Steps in numbers", columns, rows)])


def _lengths(corpus: Mapping) -> Markup:
    histogram = corpus["histograms"]["length"]
    edges, before, after = histogram["edges"], histogram["input"], histogram["output"]
    bins = occupied(before, after)
    heading = element("h3", "Length of documents")
    if not bins:
        return join([heading, element("p", "No length was counted.", class_="muted")])
    legend = _legend(("before", "before"), ("after", "after the pipeline"))
    said = f"Half of the documents have at most this many characters: {_median(edges, before)} before, {_median(edges, after)} after."
    plot = element(
        "div",
        length_histogram(edges, before, after),
        class_="plot",
        style=f"--gutter:{gutter(before, after)}px",
    )
    columns = [("Characters", "")] + [(name, "number") for name in ("Before", "After", "Kept")]
    rows = [
        [bin_name(edges, place), count(before[place]), count(after[place]), _kept_of(before, after, place)]
        for place in bins
    ]  # fmt: skip
    numbers = folded(
        "The numbers", element("div", table("Documents by length", columns, rows), class_="narrow")
    )
    explained = element("p", said, class_="muted")
    return join([heading, explained, legend, plot, numbers])


def _kept_of(before: Sequence[int], after: Sequence[int], place: int) -> str:
    """Maps shorten documents: a bin may hold more after than before, and that is no share."""
    return share(after[place], before[place]) if after[place] <= before[place] else NOTHING


def _median(edges: Sequence[int], counts: Sequence[int]) -> str:
    """The bin with the middle document."""
    half, seen = sum(counts) / 2, 0
    for place, number in enumerate(counts):
        seen += number
        if number and seen >= half:
            return bin_name(edges, place)
    return NOTHING


def _scripts(corpus: Mapping) -> Markup:
    before, after = (corpus["histograms"]["script"][side] for side in ("input", "output"))
    heading = element("h3", "Scripts")
    totals = sum(before.values()), sum(after.values())
    if not any(totals):
        return join([heading, element("p", "No character was counted.", class_="muted")])
    bars = []
    for name, characters in (("before", before), ("after", after)):
        bars += [element("span", name), script_bar(characters, f"Scripts {name}")]
    columns = [("Script", "")] + [
        (name, "number") for name in ("Before", "After", "Characters before", "Characters after")
    ]
    rows = []
    for script in SCRIPTS:
        numbers = before.get(script, 0), after.get(script, 0)
        name = join([swatch(f"script-{script}"), _SCRIPT_NAMES[script]])
        shares = map(share, numbers, totals)
        rows.append([name, *shares, *map(count, numbers)])
    pair = element("div", *bars, class_="pair")
    return join(
        [
            heading,
            pair,
            element("div", table("Characters by script", columns, rows), class_="narrow"),
        ]
    )


def _broken(broken: Mapping) -> Markup:
    heading = element("h3", "Broken records")
    if not broken["total"]:
        return join([heading, element("p", "None.", class_="muted")])
    by_reason = sorted(broken["by_reason"].items(), key=lambda item: (-item[1], item[0]))
    reasons = [[reason, count(number)] for reason, number in by_reason]
    examples = [[e["file"], e["position"], e["reason"]] for e in broken["examples"]]
    were = "was" if broken["total"] == 1 else "were"
    said = f"{counted(broken['total'], 'record')} could not be read and {were} skipped."
    columns = [("Reason", ""), ("Records", "number")]
    parts = [heading, element("p", said), table("Broken records by reason", columns, reasons)]
    if examples:
        columns = [("File", "code"), ("Position", ""), ("Reason", "")]
        parts.append(
            folded(
                f"Where: {count(len(examples))} of {count(broken['total'])}",
                table("Where broken records are", columns, examples),
            )
        )
    return join(parts)


def _outputs(outputs: Sequence[Mapping]) -> Markup:
    heading = element("h3", "Output files")
    if not outputs:
        return join([heading, element("p", "None.", class_="muted")])
    columns = [("File", "code"), ("Split", ""), ("Documents", "number"), ("Size", "number"), ("sha256", "code")]  # fmt: skip
    rows = [
        [o["file"], o["split"], count(o["documents"]), size(o["bytes"]), o["sha256"]]
        for o in outputs
    ]
    total = None
    if len(outputs) > 1:
        documents, text = (sum(o[field] for o in outputs) for field in ("documents", "bytes"))
        total = ["All", "", count(documents), size(text), ""]
    return join([heading, table("Output files", columns, rows, total)])
