"""The report page: escaped, self-contained, the same bytes again, and whole for empty and long corpora."""

import copy
import html
import json
import re

import pytest

from llmjp_jax.corpus.pipeline.report import summary_lines, write_report
from llmjp_jax.corpus.pipeline.report_elements import element
from llmjp_jax.corpus.pipeline.report_quantities import change, in_unit, share, size
from llmjp_jax.errors import UserError
from tests.corpus.pipeline.report_page import (
    SCRIPTS,
    Page,
    empty,
    section_of,
    statistics_of,
    widths,
    written,
)


def test_the_same_statistics_give_the_same_bytes_whatever_order_counts_were_added_in(tmp_path):
    once = written(tmp_path, statistics_of(), empty())
    again = json.loads(json.dumps([statistics_of(), empty()]))
    broken = again[0]["broken"]
    broken["by_reason"] = dict(reversed(broken["by_reason"].items()))
    assert written(tmp_path, *again) == once


def test_the_page_needs_nothing_but_itself(tmp_path):
    text = written(tmp_path, statistics_of(), empty())
    page = Page(text)
    assert {name for name, _ in page.tags}.isdisjoint({"script", "iframe", "img", "object", "base"})
    addresses = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("href", "src", "srcset", "data", "action")
    ]
    assert "#corpus-2" in addresses
    assert all(address.startswith(("#", "data:")) for address in addresses)
    (style,) = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    assert "--ground" in style and "url(" not in style and "@import" not in style
    policies = [found for found in page.named("meta") if "http-equiv" in found]
    assert policies[0]["content"].startswith("default-src 'none'")


HOSTILE = '<script>alert(1)</script>"\'onload="x" </title></style><!-- &amp; '


def plant(value, strings):
    """The value with hostile text before each string in it, names in dicts that name steps and reasons included."""
    if isinstance(value, str):
        strings.append(HOSTILE + value)
        return strings[-1]
    if isinstance(value, list):
        return [plant(item, strings) for item in value]
    if isinstance(value, dict):
        fixed = {"dropped_samples", "by_reason"}
        return {
            key: {plant(name, strings): plant(part, strings) for name, part in item.items()}
            if key in fixed
            else plant(item, strings)
            for key, item in value.items()
        }
    return value


def test_text_of_documents_names_and_files_cannot_act_and_stays_readable(tmp_path):
    harmless = statistics_of()
    for step in harmless["steps"]:
        step["kind"] = "filter"
    strings = []
    hostile = Page(written(tmp_path, plant(harmless, strings)))
    plain = Page(written(tmp_path, harmless))
    assert [name for name, _ in hostile.tags if name != "wbr"] == [
        name for name, _ in plain.tags if name != "wbr"
    ]
    assert not [name for _, found in hostile.tags for name in found if name.startswith("on")]
    shown = hostile.text.replace('\\"', '"')  # in the configuration, which is shown as JSON
    assert len(strings) > 25
    assert [string for string in strings if string not in shown] == []


def test_control_characters_and_lone_surrogates_are_shown_as_signs(tmp_path):
    corpus = statistics_of()
    corpus["kept_samples"] = [{"id": "x\x1b[31m", "text": "あ\x00い\ud800う\x85", "characters": 6}]
    text = written(tmp_path, corpus)
    assert "あ␀い\ufffdう\ufffd" in text and "x␛[31m" in text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)


def test_markup_is_escaped_unless_element_made_it():
    assert element("p", "<b>", element("i", "&")) == "<p>&lt;b&gt;<i>&amp;</i></p>"
    assert element("a", "x", href='"><script>', open=True, id=None) == (
        '<a href="&quot;&gt;&lt;script&gt;" open>x</a>'
    )


def test_the_page_is_well_formed_and_its_links_lead_somewhere(tmp_path):
    page = Page(written(tmp_path, statistics_of(), statistics_of("second"), empty()))
    ids = [found["id"] for _, found in page.tags if "id" in found]
    assert len(ids) == len(set(ids))
    links = {found["href"][1:] for found in page.named("a")}
    assert links == {"top", "corpus-1", "corpus-2", "corpus-3"} <= set(ids)
    tables = page.named("table")
    assert len(page.named("caption")) == len(tables) == len(page.named("div", "scroll"))
    assert all(found["tabindex"] == "0" and found["aria-label"] for found in page.named("div", "scroll"))  # fmt: skip
    pictures = [found for found in page.named("svg") if "aria-hidden" not in found]
    assert pictures and all(found["role"] == "img" and found["aria-label"] for found in pictures)


def test_the_overview_adds_up_the_corpora(tmp_path):
    page = written(tmp_path, statistics_of(), statistics_of("second"), empty())
    rows = re.findall("<tr>(.*?)</tr>", page.split("</table>")[0])
    cells = [[re.sub("<.*?>", "", cell) for cell in re.findall("<t[hd].*?</t[hd]>", row)] for row in rows]  # fmt: skip
    cells = [[html.unescape(cell).replace("\xa0", " ") for cell in row] for row in cells]
    assert cells[1] == ["ja_cc", "1,234,567", "400,000", "32.4 %", "3.40 GB", "1.10 GB", "32.4 %", "67"]  # fmt: skip
    assert cells[3] == ["nothing", "0", "0", "–", "0 B", "0 B", "–", "0"]
    assert cells[4] == ["All", "2,469,134", "800,000", "32.4 %", "6.80 GB", "2.20 GB", "32.4 %", "134"]  # fmt: skip


def test_thirty_steps_are_all_there_in_order(tmp_path):
    steps = [(f"rung_{k:02d}(low=0.05,high=0.95)", "filter", 1000 - k, 9000 - k) for k in range(30)]
    page = written(tmp_path, statistics_of("v2", steps, 1000, 9000))
    for heading in ("What each step leaves", "Steps in numbers"):
        shown = re.findall(r"rung_(\d\d)", section_of(page, heading).replace("<wbr>", ""))
        assert shown == [f"{k:02d}" for k in range(30)]


def test_reasons_are_sorted_and_each_step_has_its_samples(tmp_path):
    corpus = statistics_of()
    corpus["dropped_samples"]["a step nobody counted"] = [{"id": "z", "text": "lost", "characters": 4}]  # fmt: skip
    reasons = section_of(written(tmp_path, corpus), "Why documents were dropped").replace("<wbr>", "")  # fmt: skip
    parts = reasons.split("<details")[1:]
    names = [re.search('class="code">(.*?)<', part).group(1) for part in parts]
    assert names == ["near_duplicates(threshold=0.8)", "is_japanese(lookup=50)", "read", "a step nobody counted"]  # fmt: skip
    assert "no kana" in parts[1] and "234,500 · 28.1" in parts[1]
    assert "No sample" in parts[0] and "Broken records" in parts[2] and "lost" in parts[3]


def test_steps_of_one_name_are_one_reason(tmp_path):
    steps = [("not_empty", "filter", 90, 90), ("clean", "map", 90, 80), ("not_empty", "filter", 70, 80)]  # fmt: skip
    reasons = section_of(written(tmp_path, statistics_of("x", steps, 100, 100)), "Why documents were dropped")  # fmt: skip
    assert ">30 · 100\xa0%<" in reasons


def test_samples_say_what_was_cut_and_what_language_they_are(tmp_path):
    corpus = statistics_of()
    corpus["kept_samples"] += [
        {"id": "", "text": "def f():\n    return 1\n    # end", "characters": 31},
        {"id": "e", "text": "", "characters": 0},
        {"id": "w", "text": " \n", "characters": 2},
    ]
    kept = section_of(written(tmp_path, corpus), "What is left")
    assert "374\xa0characters, the first 17 shown" in kept
    assert (
        '<blockquote lang="ja" dir="auto">吾輩は猫である。\n名前はまだ無い。…</blockquote>' in kept
    )
    assert '<blockquote class="source" dir="auto">def f():' in kept and "without a name" in kept
    assert "an empty text" in kept and "only white space" in kept


def test_a_corpus_with_no_document_says_so_and_draws_nothing(tmp_path):
    text = written(tmp_path, empty())
    page = Page(text)
    assert "No document came in" in page.text
    assert "not_empty" in page.text and "nan" not in page.text.lower()
    assert page.named("svg") == [] and "None." in page.text


def test_a_corpus_of_which_nothing_is_left_still_has_its_funnel(tmp_path):
    corpus = statistics_of("gone", [("read", "read", 5, 50), ("drop", "filter", 0, 0)], 5, 50)
    corpus["histograms"]["length"]["output"] = [0] * 6
    corpus["histograms"]["script"]["output"] = dict.fromkeys(SCRIPTS, 0)
    corpus |= {"outputs": [], "kept_samples": []}
    text = written(tmp_path, corpus)
    assert "No document is left." in text
    assert widths(section_of(text, "What each step leaves"), "documents") == [100, 100]


def test_numbers_that_contradict_each_other_are_pointed_out(tmp_path):
    assert "disagree" not in written(tmp_path, statistics_of())
    corpus = statistics_of()
    corpus["steps"][2]["documents_in"] -= 1
    assert "extract_japanese_text, was given 999,999" in written(tmp_path, corpus)
    corpus = statistics_of()
    corpus["outputs"][0]["documents"] = 399_999
    assert "output files hold 399,999" in written(tmp_path, corpus)


def test_broken_records_and_output_files_are_listed(tmp_path):
    page = written(tmp_path, statistics_of())
    broken = re.sub("<.*?>", " ", section_of(page, "Broken records"))
    assert broken.index("not UTF-8") < broken.index("no JSON")
    assert "a.jsonl.gz" in broken and "line 17" in broken and "Where: 1 of 67" in broken
    assert "a" * 64 in section_of(page, "Output files")


@pytest.mark.parametrize(
    "damage, said",
    [
        (lambda corpus: corpus.pop("outputs"), "corpus ja_cc have no field 'outputs'"),
        (lambda corpus: corpus.update(format=2), "corpus ja_cc have format 2"),
        (lambda corpus: corpus["histograms"]["length"]["input"].pop(), "length histogram of corpus ja_cc"),
        (lambda corpus: corpus["histograms"]["script"]["input"].update(greek=1), "'greek'"),
    ],
)  # fmt: skip
def test_statistics_of_another_make_are_refused_and_the_old_report_stays(tmp_path, damage, said):
    before = written(tmp_path, statistics_of())
    corpus = copy.deepcopy(statistics_of())
    damage(corpus)
    with pytest.raises(UserError, match=re.escape(said)):
        write_report([corpus], tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_quantities_have_units_and_never_a_false_hundred_or_zero():
    plain = [text.replace("\xa0", " ") for text in (
        share(1, 3), share(0, 5), share(5, 5), share(1, 10**6), share(10**6 - 1, 10**6), share(0, 0), share(40, 2),
        size(999), size(1000), size(1_234_567_890), in_unit(12, 2),
        change(100, 87), change(100, 104), change(5, 5), change(0, 5), change(10**6, 10**6 - 1), change(10**6, 1), change(9, 0),
    )]  # fmt: skip
    assert plain == [
        "33.3 %", "0 %", "100 %", "<0.1 %", ">99.9 %", "–", "2,000 %",
        "999 B", "1.00 kB", "1.23 GB", "<0.01",
        "−13.0 %", "+4.0 %", "0 %", "–", "≈ 0 %", "≈ −100 %", "−100 %",
    ]  # fmt: skip


def test_the_terminal_table_is_aligned_and_names_every_step():
    lines = summary_lines([statistics_of(), empty()])
    assert lines[:6] == [
        "ja_cc                             documents  dropped   share     text",
        "  read                            1,234,500       67  <0.1 %  3.40 GB",
        "  is_japanese(lookup=50)          1,000,000  234,500  19.0 %  3.00 GB",
        "  extract_japanese_text           1,000,000        0     0 %  2.90 GB",
        "  near_duplicates(threshold=0.8)    400,000  600,000  60.0 %  1.10 GB",
        "  split                             400,000        0     0 %  1.10 GB",
    ]
    assert lines[6:8] == [
        "  400,000 of 1,234,567 documents kept (32.4 %), 1.10 GB of 3.40 GB; 67 broken records",
        "  note: step kenlm left out: no model was given",
    ]
    assert lines[-1] == "  0 of 0 documents kept (–), 0 B of 0 B"
