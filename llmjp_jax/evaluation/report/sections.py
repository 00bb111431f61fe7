"""The parts of the page that hold numbers: runs, categories, tasks, and how it was counted.

Judges and safety are `judged_sections.py`, what the answers were `samples.py`. A number of a run has what it was measured with as its title, and each table says it below.
"""

from __future__ import annotations

from collections.abc import Sequence

from llmjp_jax.corpus.pipeline.report_elements import Markup, element, folded, join
from llmjp_jax.evaluation.report import words
from llmjp_jax.evaluation.report.bootstrap import LEVEL, RESAMPLES, SEED
from llmjp_jax.evaluation.report.comparison import RESAMPLES as COMPARISONS
from llmjp_jax.evaluation.report.findings import Cell, Findings, Paper, Row
from llmjp_jax.evaluation.report.paper import paper_models
from llmjp_jax.evaluation.report.pictures import MOST_ON_RADAR, Series, badge, bars, legend, radar
from llmjp_jax.evaluation.report.runs import Run

COMPAT_TITLE = "llm-jp-eval 1.3"
_NONE = Markup("")


def section(heading: str, id: str, *parts: str) -> Markup:
    return element("section", element("h2", heading, id=id), *parts, aria_labelledby=id)


def grid(caption: str, heads: Sequence[str], rows: Sequence[Sequence[Markup]], class_: str = "") -> Markup:  # fmt: skip
    """A table of whole cells (`th`, `td`) that scrolls sideways by itself where the screen is narrow."""
    return element(
        "div",
        element(
            "table",
            element("caption", caption),
            element("thead", element("tr", *heads)),
            element("tbody", *(element("tr", *cells) for cells in rows)),
        ),
        class_=f"scroll {class_}".strip(), tabindex="0", role="region", aria_label=caption,
    )  # fmt: skip


def head(*children: str, number: bool = True) -> Markup:
    return element("th", *children, scope="col", class_="number" if number else None)


def row_head(*children: str) -> Markup:
    return element("th", *children, scope="row")


def number_cell(cell: Cell | None, digits: int, first: str, compat: bool = True) -> Markup:
    """A score with its interval, its mark against the first run, and llm-jp-eval's number where that is another."""
    if cell is None:
        return element("td", words.NOTHING, class_="number")
    title = [words.score(cell.value, digits)]
    if cell.interval:
        title.append(f"95 % interval {words.interval(cell.interval, digits)}")
    parts: list[str] = [element("span", words.score(cell.value, digits), class_="score")]
    if sign := words.mark(cell.difference):
        above = "higher" if sign == words.HIGHER else "lower"
        parts.append(element("abbr", sign, class_="sign", title=f"significantly {above} than {first}"))  # fmt: skip
    if cell.interval:
        parts.append(element("small", words.interval(cell.interval, digits)))
    if compat and cell.differs:
        other = words.compat(cell, digits)
        if other:
            parts.append(element("small", other, class_="compat"))
        title.append(f"{COMPAT_TITLE}'s own: {words.score(cell.compat, digits + 2)}")
    if mark := words.not_clean(cell):
        parts.append(element("small", element("a", mark, href="#contamination")))
    if cell.difference and cell.difference.adjusted_p is not None:
        title.append(words.difference(cell.difference, first, digits))
    if cell.provenance:
        title.append(words.provenance(cell.provenance))
    return element("td", *parts, class_="number", title="; ".join(title))


def run_heads(runs: Sequence[Run], unlike: Sequence[str]) -> list[Markup]:
    """A column's head for each run, with a warning at one that was measured otherwise than the first."""
    if len(runs) == 1:
        return [head(element("span", runs[0].name, class_="run-name"))]
    return [
        head(badge(str(place), place - 1), " ", element("span", run.name, class_="run-name"), *other_settings(other))
        for place, (run, other) in enumerate(zip(runs, unlike, strict=True), 1)
    ]  # fmt: skip


def other_settings(unlike: str) -> list[Markup]:
    if not unlike:
        return []
    return [element("span", f"≠ {unlike}", class_="tag warning", title=f"not comparable with the first run: other {unlike}")]  # fmt: skip


def sources(runs: Sequence[Run], columns: Sequence[Sequence[Cell | None]], *further: str) -> Markup:
    """What the numbers of a table were measured with: a line a run."""
    lines = [
        (place, run, words.provenance_of(cells, run.provenance) if any(cells) else "")
        for place, (run, cells) in enumerate(zip(runs, columns, strict=True))
    ]
    items = [
        element("li", *([badge(str(place + 1), place), " "] if len(runs) > 1 else []), line)
        for place, _, line in lines
        if line
    ]
    return element("ul", *items, *(element("li", text) for text in further if text), class_="sources")  # fmt: skip


def columns_of(rows: Sequence[Row], runs: Sequence[Run]) -> list[list[Cell | None]]:
    return [[row.cells[place] for row in rows] for place in range(len(runs))]


def notices(sentences: Sequence[str]) -> Markup:
    if not sentences:
        return _NONE
    return element("div", element("ul", *(element("li", text) for text in sentences)), class_="notice", role="note")  # fmt: skip


def runs_section(findings: Findings) -> Markup:
    """Who is compared, and with what each was measured."""
    average = next((row for row in findings.categories if row.name == "AVG"), None)
    heads = [head("", number=False), head("Run", number=False), head("Average", number=True), head("Measured with", number=False)]  # fmt: skip
    rows = []
    for place, run in enumerate(findings.runs):
        tasks = [row.cells[place] for row in findings.tasks]
        cell = average.cells[place] if average else None
        line = words.provenance_of(tasks, run.provenance)
        rows.append([
            element("td", badge(str(place + 1), place), class_="badge"),
            row_head(run.name, element("small", str(run.provenance.get("model") or run.path), class_="path")),
            number_cell(cell, 3, findings.runs[0].name),
            element("td", line, class_="line"),
        ])  # fmt: skip
    return join([grid("The runs of this report", heads, rows, "runs"), notices(findings.warnings)])


def _series(findings: Findings) -> tuple[list[str], list[Series], str]:
    """Axes, and runs and the paper's rows in view, all in one version: llm-jp-eval's where the paper's rows are there."""
    rows = {row.name: row for row in findings.categories if row.name != "AVG"}
    shown = findings.paper.shown if findings.paper else ()
    version = "compat" if shown else "value"
    series = []
    for place, run in enumerate(findings.runs):
        cells = {name: row.cells[place] for name, row in rows.items() if row.cells[place]}
        values = {name: getattr(cell, version) for name, cell in cells.items()}
        ends = {name: cell.compat_interval if shown else cell.interval for name, cell in cells.items()}  # fmt: skip
        series.append(Series(
            str(place + 1), run.name, {name: value for name, value in values.items() if value is not None},
            {name: found for name, found in ends.items() if found},
        ))  # fmt: skip
    for name in shown:
        table = findings.paper.table
        series.append(Series(
            name, f"{paper_models()[name]} (paper)",
            {column: table.value(name, column) for column in table.columns if column in rows}, {}, paper=True,
        ))  # fmt: skip
    return list(rows), series, version


def categories_section(findings: Findings) -> Markup:
    if not findings.categories:
        return _NONE
    axes, series, version = _series(findings)
    whole = [axis for axis in axes if all(axis in one.values for one in series)]
    said = (
        f"Scored as {COMPAT_TITLE} scores, so that the paper's rows (dashed, hollow) compare."
        if version == "compat"
        else "Whiskers are 95 % intervals."
    )
    parts: list[str] = []
    if len(series) > MOST_ON_RADAR:
        parts.append(element("p", f"{len(series)} lines would hide one another on a radar; the bars show them all.", class_="muted"))  # fmt: skip
    elif len(whole) >= 3:
        left = [axis for axis in axes if axis not in whole]
        caption = f"{said}{' Not in every run, and so left out here: ' + ', '.join(left) + '.' if left else ''}"
        parts.append(element("figure", radar(whole, series), element("figcaption", caption), legend(series), class_="radar"))  # fmt: skip
    else:
        parts.append(element("p", f"Every line has {len(whole)} of the categories, and a radar needs three.", class_="muted"))  # fmt: skip
    beside = [bars(axes, series)]
    if len(whole) < 3 or len(series) > MOST_ON_RADAR:
        beside.insert(0, legend(series, lines=False))
    drawn = element("div", *parts, element("div", *beside, class_="bars-side"), class_="pictures")
    return section(
        "Categories", "categories",
        element("p", f"Means of llm-jp-eval's tasks. {said if len(whole) < 3 or len(series) > MOST_ON_RADAR else ''}", class_="muted"),
        drawn, _category_table(findings), paper_rows(findings.paper, findings.runs),
    )  # fmt: skip


def _category_table(findings: Findings) -> Markup:
    rows, first = findings.categories, findings.runs[0].name
    heads = [head("", number=False)] + [
        element("th", element("abbr", row.name, title=words.CATEGORY_NAMES.get(row.name, row.name)), scope="col", class_="number")
        for row in rows
    ]  # fmt: skip
    lines = []
    for place, run in enumerate(findings.runs):
        cells = [number_cell(row.cells[place], row.digits, first) for row in rows]
        lines.append([row_head(badge(str(place + 1), place), " ", element("span", run.name, class_="run-name"), *other_settings(findings.unlike[place])), *cells])  # fmt: skip
    paper = findings.paper
    if paper:
        columns = [row.paper for row in rows]
        lines += [paper_line(paper, name, columns, 3) for name in paper.shown]
    table = grid("Scores of the categories", heads, lines, "categories")
    further = [paper_source(paper)] if paper and paper.shown else []
    return join([table, sources(findings.runs, columns_of(rows, findings.runs), *further), _reading(findings, paper)])  # fmt: skip


def _reading(findings: Findings, paper: Paper | None) -> Markup:
    """How the signs of a table are to be read."""
    said = ["Below a score: its 95 % interval; 1.3: what llm-jp-eval 1.3 gives, where that is another number."]  # fmt: skip
    if len(findings.runs) > 1:
        said.append(f"▲ ▼: significantly above or below {findings.runs[0].name} (paired bootstrap, p < 0.05 after Holm's correction).")  # fmt: skip
    if paper:
        said.append("↑ ↓ at a number of the paper: it lies above or below the run's 95 % interval" + (" (the run's number beside it)." if len(findings.runs) > 1 else "."))  # fmt: skip
        said.append(paper.caution)
    return element("p", " ".join(said), class_="muted reading")


def paper_source(paper: Paper) -> str:
    return f"Paper: {paper.table.source} ({paper.table.settings})"


def paper_line(paper: Paper, name: str, columns: Sequence[str | None], digits: int) -> list[Markup]:  # fmt: skip
    model = paper_models().get(name, name)
    cells = [row_head(element("b", name), " ", element("span", "paper", class_="tag"), element("small", model, class_="path"))]  # fmt: skip
    for column in columns:
        if column is None:
            cells.append(element("td", words.NOTHING, class_="number"))
            continue
        sides = paper.outside[name][column]
        value = words.score(paper.table.value(name, column), digits)
        title = f"{value}; {paper.table.source}; {paper.table.settings}"
        cells.append(element("td", element("span", value, class_="score"), *_sides(sides), class_="number", title=title))  # fmt: skip
    return cells


def _sides(sides: Sequence[int]) -> list[Markup]:
    signs = []
    for place, side in enumerate(sides):
        if side:
            which = str(place + 1) if len(sides) > 1 else ""
            said = f"{'above' if side > 0 else 'below'} the 95 % interval of run {place + 1}"
            signs.append(element("abbr", f"{'↑' if side > 0 else '↓'}{which}", title=said))
    return [element("small", *[part for sign in signs for part in (sign, " ")], class_="sides")] if signs else []  # fmt: skip


def paper_rows(paper: Paper | None, runs: Sequence[Run], digits: int = 3) -> Markup:
    """All rows of the paper's table, folded."""
    if paper is None:
        return _NONE
    table = paper.table
    heads = [head("", number=False), *(head(column) for column in table.columns)]
    lines = [paper_line(paper, name, table.columns, digits) for name in table.rows]
    near = sorted({name for name in paper.nearest if name})
    said = f"All rows of {table.source}"
    nearest = element("p", f"Nearest to these runs: {', '.join(near)}.", class_="muted") if near else _NONE  # fmt: skip
    return folded(said, grid(said, heads, lines, "paper"), nearest, element("p", table.settings, class_="muted"))  # fmt: skip


def tasks_section(findings: Findings) -> Markup:
    if not findings.tasks:
        return _NONE
    first = findings.runs[0].name
    heads = [head("Task, metric, items", number=False), *run_heads(findings.runs, findings.unlike)]
    noted = findings.metric_notes
    lines, before = [], None
    for row in findings.tasks:
        name = element("code", row.name, class_="again" if row.name == before else None)
        before = row.name
        metric = element("a", row.metric, href=f"#note-{row.metric}") if row.metric in noted else row.metric  # fmt: skip
        tag = element("span", row.category, class_="tag") if row.category else _NONE
        about = element("small", metric, f" · {words.items(row.cells)}", class_="about")
        lines.append([row_head(name, " ", tag, about), *(number_cell(cell, row.digits, first) for cell in row.cells)])  # fmt: skip
    notes = [element("div", element("dt", metric, id=f"note-{metric}"), element("dd", note)) for metric, note in noted.items()]  # fmt: skip
    explained = [element("h3", "Notes on metrics"), element("dl", *notes, class_="notes")] if notes else []  # fmt: skip
    return section(
        "Tasks", "tasks", grid("Scores of the tasks", heads, lines, "tasks"),
        sources(findings.runs, columns_of(findings.tasks, findings.runs)), _reading(findings, None), *explained,
        _data_versions(findings),
    )  # fmt: skip


def _data_versions(findings: Findings) -> Markup:
    """Which data each task's numbers are of, where a run has several versions of it."""
    tasks = dict.fromkeys(row.name for row in findings.tasks)
    lines = []
    for name in tasks:
        cells = next(row.cells for row in findings.tasks if row.name == name)
        versions = [str(cell.provenance.get("data_version") or "not noted") if cell else words.NOTHING for cell in cells]  # fmt: skip
        lines.append([row_head(element("code", name)), *(element("td", element("code", version)) for version in versions)])  # fmt: skip
    heads = [head("Task", number=False), *(head(run.name, number=False) for run in findings.runs)]
    return folded("Data version of each task", grid("Data version of each task", heads, lines))


METHOD = (
    f"Intervals are the middle {LEVEL:.0%} of {RESAMPLES:,} bootstrap resamples of a task's items (seed {SEED}); those of categories and of the "
    "average come from resampling their tasks' items together. Corpus metrics (correlations, BLEU, chrF) are computed anew on each resample. "
    "Where all items of a task score alike, resamples do not vary: an interval without width says little.",
    f"Two runs are compared on the items that both have, with the same index, question and gold answer: paired bootstrap of {COMPARISONS:,} "
    f"resamples ({RESAMPLES:,} for corpus metrics), two-sided, p-values corrected by Holm's procedure over the rows of a table. Fewer than ten "
    "common items are not tested. ▲ and ▼ mark numbers significantly above and below the first run's.",
    "A number of the paper is marked ↑ or ↓ where it lies above or below a run's interval in llm-jp-eval's scoring, with the run's number where there are several; only categories all of whose "
    "tasks were scored are compared.",
)  # fmt: skip


def method_section() -> Markup:
    return section("How this was counted", "method", *(element("p", text) for text in METHOD))
