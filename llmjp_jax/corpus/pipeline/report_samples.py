"""The report's texts: which steps dropped documents, a sample of what each dropped, and of what is left."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from llmjp_jax.corpus.pipeline.report_elements import Markup, breakable, element, folded, join
from llmjp_jax.corpus.pipeline.report_pictures import bar
from llmjp_jax.corpus.pipeline.report_quantities import count, counted, share

_JAPANESE = re.compile("[\u3040-\u30ff\u3400-\u9fff]")
_INDENTED = re.compile(r"\n(?: {2,}|\t)\S")


def reasons(corpus: Mapping) -> Markup:
    """The steps that dropped documents, the greediest first, each with a sample of what it dropped."""
    dropped: dict[str, int] = {}
    for step in corpus["steps"]:
        taken = step["documents_in"] - step["documents_out"]
        if taken > 0:
            dropped[step["step"]] = dropped.get(step["step"], 0) + taken
    reading = {step["step"] for step in corpus["steps"] if step["kind"] == "read"}
    samples = corpus["dropped_samples"]
    # A sample of a step that says it dropped nothing is shown all the same.
    unexplained = sorted(step for step in samples if samples[step] and step not in dropped)
    total = sum(dropped.values())
    order = sorted(dropped, key=lambda step: (-dropped[step], step)) + unexplained
    parts = []
    for step in order:
        taken = dropped.get(step, 0)
        summary = join(
            [
                element("span", breakable(step), class_="code"),
                bar([("dropped", taken)], total),
                element("span", f"{count(taken)} · {share(taken, total)}", class_="values"),
            ]
        )
        shown = [] if step in reading and step not in samples else _samples(samples.get(step, []))
        if step in reading:
            shown.insert(
                0, element("p", "Records that could not be read: see Broken records, below.")
            )
        parts.append(folded(summary, *shown, class_="reason"))
    said = (
        f"{counted(total, 'document')} dropped; the bars are shares of these. Open a step for a random sample of what "
        "it dropped: unedited text, which can be offensive or private."
        if total
        else "No document was dropped."
    )
    return join(
        [element("h3", "Why documents were dropped"), element("p", said, class_="muted"), *parts]
    )


def kept(corpus: Mapping) -> Markup:
    shown = corpus["kept_samples"]
    if not shown:
        return Markup("")
    summary = f"A random sample of {counted(len(shown), 'document')} of what is left"
    return join([element("h3", "What is left"), folded(summary, *_samples(shown))])


def _samples(samples: Sequence[Mapping]) -> list[Markup]:
    if not samples:
        return [element("p", "No sample of these documents was taken.", class_="muted")]
    return [_sample(sample) for sample in samples]


def _sample(sample: Mapping) -> Markup:
    text, characters = sample["text"], sample["characters"]
    cut = len(text) < characters
    about = counted(characters, "character")
    if cut:
        about += f", the first {count(len(text))} shown"
    # The language picks Japanese shapes of Han characters, and the voice that reads them.
    japanese = bool(_JAPANESE.search(text))
    source = not japanese and len(_INDENTED.findall(text)) >= 2
    shown = text + "…" if cut else text
    if not text.strip():
        shown = element("i", "only white space" if text else "an empty text")
    return element(
        "figure",
        element(
            "figcaption",
            element("span", sample["id"] or "without a name", class_="code"),
            f" · {about}",
        ),
        element(
            "blockquote",
            shown,
            lang="ja" if japanese else None,
            class_="source" if source else None,
            dir="auto",
        ),
        class_="sample",
    )
