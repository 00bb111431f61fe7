"""The part of the page about contamination, and the words that the Markdown shares with it."""

from __future__ import annotations

from collections.abc import Sequence

from llmjp_jax.corpus.pipeline.report_elements import Markup, element, folded, join
from llmjp_jax.corpus.pipeline.report_quantities import NARROW, count, counted
from llmjp_jax.evaluation.report import words
from llmjp_jax.evaluation.report.contamination import (
    CLEAN,
    DIRTY,
    PARTIAL,
    TOO_SHORT,
    Contamination,
    ItemContamination,
)
from llmjp_jax.evaluation.report.contamination_findings import (
    SHOWN_ITEMS,
    ContaminatedTask,
    SubsetScore,
)
from llmjp_jax.evaluation.report.findings import Findings
from llmjp_jax.evaluation.report.pictures import badge
from llmjp_jax.evaluation.report.runs import Run
from llmjp_jax.evaluation.report.samples import cut, language
from llmjp_jax.evaluation.report.sections import grid, head, row_head, section

HEADS = (
    "Task, metric", "Items", "Clean", "Partly", "Dirty", "Too short", "Covered, mean", "With answer", "Score, all", "Score, clean",
    "Score, dirty",
)  # fmt: skip


def explained(found: Contamination) -> str:
    """How the table is to be read."""
    method = found.method
    clean, dirty = (f"{100 * method[name]:g}{NARROW}%" for name in ("clean_below", "dirty_from"))
    return (
        f"A unit of an item is covered when it lies in {method['n']} units in a row (tokens; of Japanese text "
        f"{method['n_characters']} characters) that stand verbatim in one document of the corpus; what is shorter, when it stands there "
        f"whole. Clean: less than {clean} of the item is covered; dirty: {dirty} or more; partly: between (the bounds of Touvron et al. "
        f"2023, appendix A.6, are 20{NARROW}% and 80{NARROW}%). Question and answer are looked up apart; of fewer than {method['fewest']} "
        "units they are too short to judge. With answer: a document that holds the longest run of the question holds the answer too. "
        "Copies helped a model where its clean items score worse and its dirty ones better than all; one of the two alone says little. "
        "Paraphrases and translations are not found."
    )  # fmt: skip


def corpus_lines(found: Contamination) -> list[str]:
    """Against what it was checked: a line a store, and when."""
    lines = [
        f"{store['subset']}/{store['split']}: {counted(store['documents'], 'document')}, {counted(store['tokens'], 'token')}, "
        f"fingerprint {store['fingerprint'][:12]}"
        for store in found.corpus["stores"]
    ]  # fmt: skip
    commit, date = (str(found.provenance.get(name) or "not noted") for name in ("commit", "date"))
    return [
        *lines,
        f"index {found.corpus.get('index')} · checked {date[:10]} · commit {words.short_commit(commit)}",
    ]


def score_words(score: SubsetScore, digits: int) -> tuple[str, str]:
    """`0.412` and `0.370–0.450`; `–` and nothing where there is no score."""
    return words.score(score.value, digits), words.interval(score.interval, digits)


def rows(
    tasks: Sequence[ContaminatedTask],
) -> list[tuple[str, str, list[str], list[tuple[str, str]]]]:
    """Task, metric, the numbers of items, and score and interval of each subset: a row a metric."""
    found = []
    for task in tasks:
        covered = words.NOTHING if task.mean_covered is None else percent(task.mean_covered)
        counts = [count(task.items), *(count(task.marks[mark]) for mark in (CLEAN, PARTIAL, DIRTY, TOO_SHORT)), covered, count(task.with_answer)]  # fmt: skip
        for metric, scores in task.scores.items():
            digits = 1 if metric.startswith(("bleu", "chrf")) else 3  # of a scale to 100
            numbers = [score_words(scores[subset], digits) for subset in ("all", CLEAN, DIRTY)]
            found.append((task.name, metric, counts, numbers))
    return found


def percent(share: float) -> str:
    """`12.3 %`; only nothing is `0 %`, and only everything is `100 %`."""
    number = f"{100 * share:.1f}" if 0 < share < 1 else f"{100 * share:.0f}"
    if share > 0 and number == "0.0":
        number = "<0.1"
    if share < 1 and number == "100.0":
        number = ">99.9"
    return f"{number}{NARROW}%"


def item_words(item: ItemContamination) -> str:
    """`100 % covered; longest run: 20 characters of the question, in 2 documents (3 times); with its answer`."""
    longest = item.longest
    said = f"{percent(item.covered)} covered"
    if longest:
        part = "question" if longest["part"] == "input" else "answer"
        times = "" if longest["occurrences"] == longest["documents"] else f" ({counted(longest['occurrences'], 'time')})"  # fmt: skip
        said += f"; longest run: {count(longest['units'])}{NARROW}{longest['unit']} of the {part}, in {counted(longest['documents'], 'document')}{times}"
    return said + ("; with its answer" if item.with_answer else "")


def places(item: ItemContamination) -> list[str]:
    """Documents that hold an item's longest run, with their sources."""
    return [f"{place['document']}: {place['source']}" for place in (item.longest or {}).get("where", ())]  # fmt: skip


def contamination_section(findings: Findings) -> Markup:
    checked = [
        (place, run, tasks)
        for place, (run, tasks) in enumerate(
            zip(findings.runs, findings.contamination, strict=True)
        )  # fmt: skip
        if tasks
    ]
    if not checked:
        return Markup("")
    parts = [_run(place, run, tasks, len(findings.runs) > 1) for place, run, tasks in checked]
    said = dict.fromkeys(explained(run.contamination) for _, run, _ in checked)
    lead = "How much of the items stands word for word in a corpus."
    return section(
        "Contamination", "contamination", element("p", lead, class_="muted"),
        *(element("p", text, class_="muted reading") for text in said), *parts,
    )  # fmt: skip


def _run(place: int, run: Run, tasks: Sequence[ContaminatedTask], several: bool) -> Markup:
    heads = [head(HEADS[0], number=False), *(head(name) for name in HEADS[1:])]
    lines, before = [], None
    for name, metric, counts, numbers in rows(tasks):
        code = element("code", name, class_="again" if name == before else None)
        before = name
        cells = [element("td", number, class_="number") for number in counts]
        for value, about in numbers:
            small = [element("small", about)] if about else []
            cells.append(element("td", element("span", value, class_="score"), *small, class_="number"))  # fmt: skip
        lines.append([row_head(code, element("small", metric, class_="about")), *cells])
    title = [badge(str(place + 1), place), " ", run.name] if several else [run.name]
    return join([
        element("h3", *title),
        grid(f"Contamination of the items that {run.name} was asked", heads, lines, "contamination"),
        element("ul", *(element("li", line) for line in corpus_lines(run.contamination)), class_="sources"),
        *(_worst(task) for task in tasks if task.worst),
    ])  # fmt: skip


def _worst(task: ContaminatedTask) -> Markup:
    shown = task.worst[:SHOWN_ITEMS]
    told = counted(len(task.worst), "item") + " not clean"
    if len(task.worst) > len(shown):
        told += f", of which the {len(shown)} most covered"
    summary = join([element("code", task.name), " ", element("span", told, class_="muted")])
    return folded(summary, *(_item(item) for item in shown), class_="task")


def _item(item: ItemContamination) -> Markup:
    parts = [element("figcaption", f"Item {item.index} · {item_words(item)}")]
    if item.longest:
        text = item.longest["text"]
        parts.append(element("blockquote", cut(text, "input"), lang=language(text), dir="auto"))
        parts.append(element("ul", *(element("li", place) for place in places(item)), class_="sources"))  # fmt: skip
    return element("figure", *parts, class_="sample")
