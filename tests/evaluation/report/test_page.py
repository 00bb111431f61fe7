"""The page is whole, needs nothing but itself, lets no answer act, and says what each number was measured with."""

import dataclasses
import json
import re

import pytest

from llmjp_jax.evaluation.report.findings import find
from llmjp_jax.evaluation.report.markdown import _fenced, markdown
from llmjp_jax.evaluation.report.page import page
from llmjp_jax.evaluation.report.runs import read_runs
from llmjp_jax.evaluation.report.samples import choose
from tests.evaluation.report.report_page import Page, cells, markdown_table, section


@pytest.fixture(scope="module")
def html_text(report):
    return (report[0] / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def markdown_text(report):
    return (report[0] / "report.md").read_text(encoding="utf-8")


def small(runs_dir, *names, tasks=("chabsa", "jnli")):
    """Runs of few tasks, which are counted quickly."""
    return [
        dataclasses.replace(run, tasks={name: run.tasks[name] for name in tasks}, judged={})
        for run in read_runs([runs_dir / name for name in names])
    ]


def test_the_page_is_well_formed_and_its_links_lead_somewhere(html_text):
    found = Page(html_text)
    ids = [tag["id"] for _, tag in found.tags if "id" in tag]
    assert len(ids) == len(set(ids))
    links = {tag["href"][1:] for tag in found.named("a")}
    assert {"categories", "tasks", "judges", "safety", "samples", "method", "note-bleu_ja"} <= links <= set(ids)  # fmt: skip
    assert len(found.named("caption")) == len(found.named("table")) == len(found.named("div", "scroll"))  # fmt: skip
    pictures = [tag for tag in found.named("svg") if "aria-hidden" not in tag]
    assert pictures and all(tag["role"] == "img" and tag["aria-label"] for tag in pictures)


def test_the_page_needs_nothing_but_itself(html_text):
    found = Page(html_text)
    assert {name for name, _ in found.tags}.isdisjoint({"script", "iframe", "img", "object", "base", "form"})  # fmt: skip
    addresses = [value for _, tag in found.tags for name, value in tag.items() if name in ("href", "src", "srcset", "data", "action")]  # fmt: skip
    assert addresses and all(address.startswith(("#", "data:")) for address in addresses)
    (style,) = re.findall("<style>(.*?)</style>", html_text, re.DOTALL)
    assert "--series-1" in style and "url(" not in style and "@import" not in style
    policies = [tag for tag in found.named("meta") if "http-equiv" in tag]
    assert policies[0]["content"].startswith("default-src 'none'")
    assert "http" not in re.sub(r'http-equiv="', "", html_text)


HOSTILE = '<script>alert(1)</script>"\'onload="x" </title></style><!-- ``` | &amp; \x00\ud800'


def test_no_text_of_a_run_can_act(runs_dir):
    (run,) = small(runs_dir, "base")
    plain = Page(page(find([run], progress=False)))
    tasks = {
        name: dataclasses.replace(task, items=tuple(
            dataclasses.replace(item, input=HOSTILE, prompt=HOSTILE, raw=HOSTILE, prediction=HOSTILE, gold=HOSTILE)
            for item in task.items
        ))
        for name, task in run.tasks.items()
    }  # fmt: skip
    provenance = {**run.provenance, "model": HOSTILE, "template": HOSTILE, "commit": HOSTILE}
    hostile = dataclasses.replace(run, name=HOSTILE, tasks=tasks, provenance=provenance, notices=(HOSTILE,))  # fmt: skip
    findings = find([hostile], progress=False)
    found = Page(page(findings))
    assert not {name for name, _ in found.tags} & {"script", "iframe"}
    assert {name for name, _ in found.tags} <= {name for name, _ in plain.tags} | {"q"}
    assert not [name for _, tag in found.tags for name in tag if name.startswith("on")]
    assert found.text.count("<script>alert(1)</script>") > 10
    text = markdown(findings)
    outside = re.sub(r"(?ms)^(`{3,})text$.*?^\1$", "", text)
    assert "<script>" not in outside and "\\<script\\>" in outside
    text.encode("utf-8")


@pytest.mark.parametrize("raw", ["plain", "```\n<b>\n```", "`````\nx"])
def test_a_fence_in_markdown_is_longer_than_any_in_its_text(raw):
    first, *inside, last = _fenced(raw).split("\n")
    assert first == last + "text" and set(last) == {"`"} and len(last) >= 3
    assert "\n".join(inside) == raw and last not in raw


def test_the_paper_is_compared_with_llm_jp_evals_scores_of_a_run(runs_dir):
    (run,) = small(runs_dir, "base", tasks=("chabsa",))
    task, lowered = run.tasks["chabsa"], {**run.compat_categories, "EL": 0.0}
    metrics = {"set_f1": dataclasses.replace(task.metrics["set_f1"], compat=0.0)}
    run = dataclasses.replace(
        run, compat_categories=lowered, tasks={"chabsa": dataclasses.replace(task, metrics=metrics)}
    )
    found = find([run], ["v2.0-L"], progress=False)
    cell = next(row for row in found.categories if row.name == "EL").cells[0]
    _, high = cell.interval
    row = next(name for name in found.paper.table.rows if cell.compat_interval[1] < found.paper.table.value(name, "EL") < high)  # fmt: skip
    assert found.paper.outside[row]["EL"] == (
        1,
    )  # within the sound interval, above that of the lowered score
    assert (cell.value, cell.compat) == (run.categories["EL"], 0.0)


def test_the_same_runs_give_the_same_bytes(runs_dir):
    findings = [find(small(runs_dir, "base", "better"), progress=False) for _ in range(2)]
    assert page(findings[0]) == page(findings[1]) and markdown(findings[0]) == markdown(findings[1])


def test_every_number_says_what_it_was_measured_with(html_text, report, runs_dir):
    titles = [tag.get("title", "") for tag in Page("<h2" + section(html_text, "tasks")).named("td", "number")]  # fmt: skip
    assert len(titles) == 3 * len(report[1]["tasks"]) > 25
    version = json.loads((runs_dir / "base" / "tasks" / "jnli.json").read_text(encoding="utf-8"))["provenance"]["data_version"]  # fmt: skip
    assert sum(f"data {version}" in title for title in titles) == 3
    for title in titles:
        assert re.search(r"data [0-9a-f]{12} · dev · [04]\xa0shots · [23]0\xa0samples · template llm_jp_eval_1_3 \(3f2a9c51d0be\) · .*commit 868a5fd0aa86", title)  # fmt: skip
    for anchor in ("categories", "tasks", "judges", "safety"):
        assert section(html_text, anchor).count("commit 868a5fd0aa86") > 3
    assert "arXiv 2407.03963, Table 10" in section(html_text, "categories")


def test_runs_that_are_not_comparable_carry_a_warning_above_and_at_their_columns(html_text, markdown_text):  # fmt: skip
    warning = "Not comparable: base and other differ in shots (4 and 0) in all 9 tasks."
    assert warning in Page(html_text).text
    assert html_text.index(warning) < html_text.index('id="categories"')
    heads = cells(section(html_text, "tasks"))[0]
    assert "≠ shots, number of samples" in heads[3] and "≠" not in heads[1] + heads[2]
    assert "differ in shots" in markdown_text
    assert "≠" not in cells(section(html_text, "judges"))[0][3]


def test_significant_differences_are_marked_and_explained(html_text, report):
    rows = {(row["name"], row["metric"]): row for row in report[1]["tasks"]}
    found = rows["jemhopqa", "char_f1"]["cells"][1]["difference"]
    assert found["adjusted_p"] < 0.05
    line = next(row for row in cells(section(html_text, "tasks")) if row[0].startswith("jemhopqa"))
    assert "▲" in line[2] and "▲" not in line[1]
    assert f"{found['adjusted_p']:.3f}"[:4] in html_text and "after Holm&#x27;s correction: significant" in html_text  # fmt: skip


def shown(cell, digits=3):
    """What a table must say of a cell of report.json."""
    if cell is None:
        return "–"
    found = cell["difference"]
    sign = "" if not found or found["adjusted_p"] is None or found["adjusted_p"] >= 0.05 else " ▲" if found["value"] > 0 else " ▼"  # fmt: skip
    ends = f" [{cell['interval'][0]:.{digits}f}–{cell['interval'][1]:.{digits}f}]"
    value, compat = f"{cell['value']:.{digits}f}", f"{cell['compat']:.{digits}f}"
    return value + sign + ends + ("" if compat == value else f" (1.3: {compat})")


def test_the_tables_of_markdown_and_page_are_the_numbers_of_the_json(report, markdown_text, html_text):  # fmt: skip
    numbers = report[1]
    table = markdown_table(markdown_text, "## Tasks")
    assert [row[0].strip("`") for row in table[1:]] == [row["name"] for row in numbers["tasks"]]
    for line, row in zip(table[1:], numbers["tasks"], strict=True):
        assert line[4:] == [shown(cell, row["digits"]) for cell in row["cells"]], line
    table = markdown_table(markdown_text, "## Categories")
    for place, row in enumerate(numbers["categories"], 1):
        assert table[0][place] == row["name"]
        assert [line[place] for line in table[1:4]] == [shown(cell) for cell in row["cells"]]
    plain = [re.sub(r"[\[\]()]", "", cell) for line in markdown_table(markdown_text, "## Tasks")[1:] for cell in line[4:]]  # fmt: skip
    on_page = [cell for line in cells(section(html_text, "tasks").split("</table>")[0])[1:] for cell in line[1:]]  # fmt: skip
    assert plain == on_page


def test_the_papers_rows_stand_beside_and_are_marked_outside_the_interval(report, html_text):
    paper = report[1]["paper"]
    assert paper["shown"] and set(paper["shown"]) == {name for name in paper["nearest"] if name}
    by_name = {row["name"]: row["cells"] for row in report[1]["categories"]}
    for name, columns in paper["outside"].items():
        for column, sides in columns.items():
            value = paper["rows"][name][paper["columns"].index(column)]
            for cell, side in zip(by_name.get(column, [None] * 3), sides, strict=True):
                if cell is None or not cell["complete"]:
                    assert (
                        side == 0
                    )  # nothing to compare: the average of five categories is not the paper's
                else:
                    low, high = cell["compat_interval"]
                    assert side == (value > high) - (value < low)
    folded = html_text.partition("<summary>All rows of arXiv 2407.03963, Table 10</summary>")[2]
    every = {row[0].split()[0] for row in cells(folded.partition("</table>")[0])[1:]}
    assert every == set(paper["rows"])


def test_samples_show_right_and_wrong_answers_of_every_run_to_the_same_question(runs_dir):
    runs = read_runs([runs_dir / name for name in ("base", "better", "other")])
    chosen = choose(runs, each=2)
    assert set(chosen) == set(runs[0].tasks)
    verdicts = [sample.verdict for sample in chosen["jnli"]]
    assert verdicts == ["right"] * 2 + ["wrong"] * 2
    for sample in chosen["jnli"]:
        assert (sample.item.scores["exact_match"] == 1) == (sample.verdict == "right")
        assert sample.answers[0] is sample.item
        assert all(answer is None or answer.input == sample.item.input for answer in sample.answers)
    assert [sample.verdict for sample in chosen["jsts"]] == [""] * 4  # a correlation scores no item
    assert [sample.verdict for sample in chosen["alt-e-to-j"]] == ["highest"] * 2 + ["lowest"] * 2


def test_prompts_are_folded_and_long_texts_cut_with_their_length(runs_dir):
    (run,) = small(runs_dir, "base", tasks=("jnli",))
    task = run.tasks["jnli"]
    long = tuple(dataclasses.replace(item, raw="長" * 5000) for item in task.items)
    run = dataclasses.replace(run, tasks={"jnli": dataclasses.replace(task, items=long)})
    text = page(find([run], progress=False))
    assert "長" * 800 + "… (5,000 characters)" in text and "長" * 801 not in text
    assert len(re.findall("<details><summary>Prompt</summary>", text)) == 4
    assert "<details open" not in text


def test_a_run_that_was_only_judged_has_a_report(runs_dir):
    (run,) = read_runs([runs_dir / "base"])
    judged = dataclasses.replace(run, tasks={}, categories={}, average=None, compat_categories={}, compat_average=None)  # fmt: skip
    text = page(find([judged], progress=False))
    found = Page(text)
    assert "Safety" in found.text and "Categories" not in found.text and "nan" not in text
    assert 'href="#tasks"' not in text


def test_a_metric_that_could_not_be_computed_is_a_dash_not_a_zero(runs_dir):
    from llmjp_jax.evaluation.report.runs import Measured

    (run,) = small(runs_dir, "base", tasks=("jnli",))
    task = run.tasks["jnli"]
    metrics = {**task.metrics, "comet_wmt22": Measured(None, None, "needs the package comet")}
    run = dataclasses.replace(run, tasks={"jnli": dataclasses.replace(task, metrics=metrics)})
    text = page(find([run], progress=False))
    line = next(row for row in cells(section(text, "tasks")) if "comet_wmt22" in row[0])
    assert line[1] == "–" and "needs the package comet" in text
