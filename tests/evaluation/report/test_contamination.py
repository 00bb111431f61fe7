"""The report shows how much of a run's items stands in a corpus, what that does to its scores, and only where it is about these items."""

import json
import re

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.metrics import score
from llmjp_jax.evaluation.report import write_report
from llmjp_jax.evaluation.report.contamination import (
    FILE,
    identity,
    read_contamination,
    with_contamination,
)
from llmjp_jax.evaluation.report.contamination_section import percent
from llmjp_jax.evaluation.report.runs import read_runs
from tests.evaluation.report.report_page import Page, cells, markdown_table, section
from tests.evaluation.report.sample_runs import write_run

TASKS = ["jcommonsenseqa", "jemhopqa", "jsts", "alt-e-to-j"]
CHECKED = ["alt-e-to-j", "jemhopqa", "jsts"]
HOSTILE = '<script>alert(1)</script>"\'onload="x" </title> | ` _a_ &amp; \x00'


def record(run, text="彼は昨日、駅前の書店で"):
    """A contamination.json of a run: of ten items each, the first six clean, two partly, one dirty, one too short."""
    covered = [0.0] * 5 + [0.19, 0.2, 0.5, 0.9, None]
    marks = ["clean"] * 6 + ["partial"] * 2 + ["dirty", "too_short"]
    longest = {
        "part": "input", "text": text, "unit": "characters", "units": 11, "documents": 2, "occurrences": 3,
        "where": [{"document": "web/train/17", "source": f"a.jsonl, line 18 {text}", "licence": None}],
    }  # fmt: skip
    found = {}
    for name in CHECKED:
        items = [
            {"index": item.index, "id": identity(item.input, item.gold), "mark": mark, "covered": share,
             "longest": longest if share else None, "with_answer": mark == "dirty" or None}
            for item, share, mark in zip(run.tasks[name].items, covered, marks, strict=True)
        ]  # fmt: skip
        found[name] = {"split": "dev", "data_version": "0" * 12, "items": items}
    content = {
        "kind": "contamination", "format": 1,
        "method": {"n": 13, "n_characters": 14, "fewest": 8, "clean_below": 0.2, "dirty_from": 0.8},
        "corpus": {"index": "idx", "vocabulary": "v", "stores": [{"subset": "web", "split": "train", "documents": 12345, "tokens": 678901, "characters": 5, "text": "source", "fingerprint": "feedbeef0123456789"}]},
        "provenance": {"commit": "868a5fd0aa" * 4, "date": "2026-11-25T09:30:00+00:00"},
        "tasks": found,
    }  # fmt: skip
    return json.loads(json.dumps(content))  # no part of it is another one too


def write(folder, content):
    (folder / FILE).write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two runs, the first with its contamination, and their report."""
    folder = tmp_path_factory.mktemp("contaminated")
    for name, seed in (("first", 1), ("second", 2)):
        write_run(folder / name, f"runs/{name}", seed=seed, samples=10, tasks=TASKS, judged=False, comet=False)  # fmt: skip
    (run,) = read_runs([folder / "first"])
    write(folder / "first", record(run))
    findings = write_report([folder / "first", folder / "second"], folder / "report", paper=[], progress=False)  # fmt: skip
    texts = [(folder / "report" / name).read_text(encoding="utf-8") for name in ("report.html", "report.md", "report.json")]  # fmt: skip
    return folder, run, findings, *texts


@pytest.fixture
def run(made, tmp_path):
    """A copy of the first run, without its contamination."""
    write_run(tmp_path / "run", "runs/first", seed=1, samples=10, tasks=TASKS, judged=False, comet=False)  # fmt: skip
    return read_runs([tmp_path / "run"])[0]


def reported(run, content):
    write(run.path, content)
    return with_contamination(run)


def test_scores_of_clean_and_dirty_items_are_those_of_these_items_alone(made):
    _, run, findings, *_ = made
    tasks = {task.name: task for task in findings.contamination[0]}
    assert list(tasks) == CHECKED and findings.contamination[1] == ()
    subsets = {"all": range(10), "clean": range(6), "dirty": [8]}
    for name, metric in (("jemhopqa", "char_f1"), ("jsts", "pearson"), ("alt-e-to-j", "bleu_ja")):
        items = run.tasks[name].items
        for subset, places in subsets.items():
            found = tasks[name].scores[metric][subset]
            assert found.items == len(places)
            alone = score(metric, [items[k].prediction for k in places], [items[k].gold for k in places])  # fmt: skip
            assert found.value == pytest.approx(alone.value), (name, subset)
            if found.interval:
                assert found.interval[0] <= found.value <= found.interval[1]
    assert tasks["jemhopqa"].mean_covered == pytest.approx((0.19 + 0.2 + 0.5 + 0.9) / 9)
    assert [item.index for item in tasks["jsts"].worst] == [8, 7, 6]


def test_page_markdown_and_json_say_the_same(made):
    *_, html_text, markdown_text, json_text = made
    numbers = json.loads(json_text)["contamination"]
    assert numbers[1] is None and [task["name"] for task in numbers[0]["tasks"]] == CHECKED
    assert numbers[0]["corpus"]["stores"][0]["fingerprint"] == "feedbeef0123456789"
    table = markdown_table(markdown_text, "### 1. first")
    assert table[0][2:7] == ["Items", "Clean", "Partly", "Dirty", "Too short"]
    on_page = cells(section(html_text, "contamination").split("</table>")[0])
    expected = []
    for task in numbers[0]["tasks"]:
        for metric, scores in task["scores"].items():
            digits = 1 if metric.startswith("bleu") else 3
            values = ["–" if scores[subset]["value"] is None else f"{scores[subset]['value']:.{digits}f}".replace("-", "−") for subset in ("all", "clean", "dirty")]  # fmt: skip
            marks = [str(task["marks"][mark]) for mark in ("clean", "partial", "dirty", "too_short")]  # fmt: skip
            expected.append([task["name"], metric, str(task["items"]), *marks, "19.9 %", "1", *values])  # fmt: skip
    assert [[cell.split(" [")[0].strip("`").replace("\xa0", " ") for cell in line] for line in table[1:]] == expected  # fmt: skip
    plain = [[*line[0].split(" "), *line[1:8], *(cell.split(" ")[0] for cell in line[8:])] for line in on_page[1:]]  # fmt: skip
    assert [[cell.replace("\xa0", " ") for cell in line] for line in plain] == expected


def test_the_report_says_against_what_was_checked_and_how(made):
    *_, html_text, markdown_text, _ = made
    for text in (Page(html_text).text, markdown_text.replace("\\", "")):
        text = text.replace("\xa0", " ")
        assert "web/train: 12,345 documents, 678,901 tokens, fingerprint feedbeef0123" in text
        assert "index idx · checked 2026-11-25 · commit 868a5fd0aa86" in text
        assert "lies in 13 units in a row (tokens; of Japanese text 14 characters)" in text
        assert "less than 20 % of the item is covered; dirty: 80 % or more" in text
    ids = {tag["id"] for _, tag in Page(html_text).tags if "id" in tag}
    assert "contamination" in ids and 'href="#contamination"' in html_text


def test_each_contaminated_task_carries_a_mark_in_words_beside_its_score(made):
    *_, html_text, markdown_text, _ = made
    for line in cells(section(html_text, "tasks").split("</table>")[0])[1:]:
        marked = not line[0].startswith("jcommonsenseqa")  # that was not checked
        assert ("⚠ 3 of 10 items not clean" in line[1].replace("\xa0", " ")) == marked, line
        assert "⚠" not in line[2]
    lines = markdown_table(markdown_text, "## Tasks")[1:]
    assert ["⚠" in line[4] for line in lines] == [line[0] != "`jcommonsenseqa`" for line in lines]
    assert not any("⚠" in line[5] for line in lines)


def test_items_are_shown_with_their_longest_run_and_where_it_stands(made):
    *_, html_text, _, _ = made
    text = Page("<h2" + section(html_text, "contamination")).text.replace("\xa0", " ")
    assert "Item 8 · 90.0 % covered; longest run: 11 characters of the question, in 2 documents (3 times); with its answer" in text  # fmt: skip
    assert "Item 6 · 20.0 % covered; longest run: 11 characters of the question, in 2 documents (3 times)" in text  # fmt: skip
    assert "web/train/17: a.jsonl, line 18" in text and "彼は昨日、駅前の書店で" in text
    assert "3 items not clean" in text and "Item 5" not in text


def test_a_task_without_copies_has_no_mark(run, tmp_path):
    content = record(run)
    for item in content["tasks"]["jsts"]["items"]:
        item.update(mark="clean", covered=0.0)
    write(run.path, content)
    write_report([run.path], tmp_path / "out", paper=[], progress=False)
    lines = markdown_table((tmp_path / "out" / "report.md").read_text(encoding="utf-8"), "## Tasks")
    assert {line[0] for line in lines[1:] if "⚠" in line[4]} == {"`jemhopqa`", "`alt-e-to-j`"}


def test_a_run_without_the_file_has_no_section(run, tmp_path):
    findings = write_report([run.path], tmp_path / "out", paper=[], progress=False)
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert findings.contamination == ((),)
    assert 'id="contamination"' not in text and "#contamination" not in text and "⚠" not in text
    assert "Contamination" not in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))["contamination"] == [None]  # fmt: skip


@pytest.mark.parametrize("change", [
    lambda tasks: tasks["jsts"]["items"][3].update(id="0" * 16),
    lambda tasks: tasks["jsts"]["items"].pop(),
    lambda tasks: [item.update(index=item["index"] + 1) for item in tasks["jsts"]["items"]],
    lambda tasks: [tasks.update(elsewhere=tasks.pop(name)) for name in list(tasks)],
])  # fmt: skip
def test_a_file_about_other_items_is_a_warning_and_is_not_shown(run, tmp_path, change):
    content = record(run)
    change(content["tasks"])
    write(run.path, content)
    findings = write_report([run.path], tmp_path / "out", paper=[], progress=False)
    (warning,) = [text for text in findings.warnings if "contamination.json is not shown, for it was made for other items" in text]  # fmt: skip
    assert "elsewhere" in content["tasks"] or "jsts;" in warning
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert warning in Page(text).text and 'id="contamination"' not in text and "⚠" not in text


def test_a_file_about_more_items_than_were_asked_is_shown_for_those_that_were(run):
    content = record(run)
    more = [{**item, "index": item["index"] + 10} for item in content["tasks"]["jsts"]["items"]]
    content["tasks"]["jsts"]["items"] += more
    content["tasks"]["jnli"] = {"items": []}
    found = reported(run, content)
    assert not found.notices[len(run.notices) :]
    assert found.contamination.not_clean("jsts", range(10)) == 3
    assert found.contamination.not_clean("jmmlu", range(10)) is None


def test_no_text_of_an_item_or_a_corpus_can_act(run, tmp_path):
    content = record(run, text=HOSTILE)
    content["corpus"].update(index=HOSTILE)
    content["corpus"]["stores"][0].update(subset=HOSTILE, fingerprint=HOSTILE)
    content["provenance"].update(commit=HOSTILE)
    write(run.path, content)
    write_report([run.path], tmp_path / "out", paper=[], progress=False, samples=0)
    found = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert not {name for name, _ in found.tags} & {"script", "iframe"}
    assert not [name for _, tag in found.tags for name in tag if name.startswith("on")]
    assert found.text.count("<script>alert(1)</script>") > 10
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in text and "\\<script\\>" in text


@pytest.mark.parametrize("damage, said", [
    (lambda c: c.update(kind="vicuna"), "is of kind 'vicuna' and format 1"),
    (lambda c: c.update(format=2), "and format 2, and 'contamination' of format 1 is read"),
    (lambda c: c.pop("tasks"), "has no tasks"),
    (lambda c: c["method"].pop("n"), "has no n;"),
    (lambda c: c["method"].update(n=None), "has no number n;"),
    (lambda c: c["corpus"].update(stores={}), "which is no list"),
    (lambda c: c["corpus"]["stores"][0].pop("fingerprint"), "has no fingerprint"),
    (lambda c: c["tasks"].update(jsts=3), "has no items"),
    (lambda c: c["tasks"]["jsts"]["items"][0].update(mark="filthy"), "jsts, item 0, has mark = 'filthy'"),
    (lambda c: c["tasks"]["jsts"]["items"][8].update(covered=None), "has mark = 'dirty' and covered = None"),
    (lambda c: c["tasks"]["jsts"]["items"][8].update(covered="x"), "covered = 'x', which is no number"),
    (lambda c: c["tasks"]["jsts"]["items"][8]["longest"].pop("text"), "jsts, item 8, has no text"),
    (lambda c: c["tasks"]["jsts"]["items"][8]["longest"].update(where=["x"]), "has no document"),
    (lambda c: c["tasks"]["jsts"]["items"].__setitem__(0, 7), "has no mark"),
])  # fmt: skip
def test_a_damaged_file_is_one_sentence_that_names_it(run, damage, said):
    content = record(run)
    damage(content)
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        reported(run, content)
    assert (
        FILE in str(caught.value)
        and str(caught.value).endswith("tools/contamination.py")
        and "\n" not in str(caught.value)
    )
    (run.path / FILE).write_text(json.dumps(record(run))[:-40], encoding="utf-8")
    with pytest.raises(UserError, match="half-written"):
        read_contamination(run.path / FILE)


def test_only_nothing_is_none_and_only_everything_is_all():
    shares = [percent(share).replace("\xa0", " ") for share in (0, 1e-6, 0.1234, 0.99999, 1)]
    assert shares == ["0 %", "<0.1 %", "12.3 %", ">99.9 %", "100 %"]
