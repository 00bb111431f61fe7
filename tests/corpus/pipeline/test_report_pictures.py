"""The report's pictures show the numbers they are given, in colours that can be read, at every width."""

import html
import re
import shutil
import subprocess

import pytest

from tests.corpus.pipeline.report_page import (
    SCRIPTS,
    STEPS,
    empty,
    section_of,
    statistics_of,
    widths,
    written,
)


def test_the_funnel_draws_what_each_step_leaves_and_takes(tmp_path):
    funnel = section_of(written(tmp_path, statistics_of()), "What each step leaves")
    left, taken = widths(funnel, "documents"), widths(funnel, "dropped")
    expected = [1_234_567] + [documents for _, _, documents, _ in STEPS]
    assert left == pytest.approx([100 * documents / 1_234_567 for documents in expected], abs=0.01)
    row = funnel.split("<li>")[-2]
    assert "near_" in row
    assert widths(row, "dropped") == pytest.approx([100 * 600_000 / 1_234_567, 100 * 18 / 34], abs=0.01)  # fmt: skip
    assert len(taken) == 2 + 2 + 1 + 2  # nothing for split, no document for the map


def test_a_step_that_adds_documents_or_text_stays_inside_the_picture(tmp_path):
    steps = [("read", "read", 10, 100), ("split_documents", "map", 25, 400), ("split", "split", 25, 400)]  # fmt: skip
    page = written(tmp_path, statistics_of("grows", steps, 10, 100))
    funnel = section_of(page, "What each step leaves")
    assert widths(funnel, "documents") == [40, 40, 100, 100]
    assert "+300.0" in section_of(page, "Steps in numbers") and "+15<" in page


def test_the_length_histogram_draws_and_lists_every_bin_between_the_ends(tmp_path):
    lengths = section_of(written(tmp_path, statistics_of()), "Length of documents")
    heights = {
        kind: [float(x) for x in re.findall(rf'<rect class="{kind}" y="[\d.]+" height="([\d.]+)"', lengths)]
        for kind in ("before", "after")
    }  # fmt: skip
    assert heights["before"] == pytest.approx([60, 180, 120, 30])
    assert heights["after"] == pytest.approx([0, 6, 90, 24])
    titles = re.findall("<title>(.*?)</title>", lengths)
    assert titles == [
        "1 characters: 100 before, 0 after", "2–3 characters: 300 before, 10 after",
        "4–7 characters: 200 before, 150 after", "8–15 characters: 50 before, 40 after",
    ]  # fmt: skip
    assert "2–3 before, 4–7 after" in lengths
    assert re.findall('text-anchor="middle">(.*?)<', lengths) == ["1", "2", "4", "8", "16"]


def test_one_document_among_a_million_is_still_seen(tmp_path):
    corpus = statistics_of()
    corpus["histograms"]["length"] |= {"edges": [0, 1, 2], "input": [0, 10**6, 1], "output": [0, 0, 1]}  # fmt: skip
    lengths = section_of(written(tmp_path, corpus), "Length of documents")
    assert '<rect class="after" y="178.50" height="1.50"' in lengths
    assert "2 or more characters: 1 before, 1 after" in lengths


def test_script_bars_are_shares_that_fill_the_bar(tmp_path):
    scripts = section_of(written(tmp_path, statistics_of()), "Scripts")
    before, after = re.findall('<svg class="scripts".*?</svg>', scripts)
    assert widths(before, "mark") == [50, 10, 20, 10, 5, 4, 1]
    assert widths(after, "mark") == [60, 10, 25, 4, 1]
    assert "latin 0\xa0%" in after and re.findall('middle">(.*?)<', after) == ["60.0\xa0%", "25.0\xa0%"]  # fmt: skip


def luminance(colour):
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * p for weight, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_text_can_be_read_in_both_modes(tmp_path, mode):
    roots = re.findall(r":root \{(.*?)\}", written(tmp_path, statistics_of()), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", roots[mode]))
    pairs = [(text, ground) for text in ("ink", "muted", "link") for ground in ("ground", "panel")]
    pairs += [("ink", "notice"), *((f"on-{script}", script) for script in SCRIPTS)]
    for text, ground in pairs:
        low, high = sorted((luminance(colours[text]), luminance(colours[ground])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)


@pytest.mark.parametrize("width", [390, 1200])
def test_a_browser_shows_the_page_without_scrolling_sideways(tmp_path, width):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed to lay the page out")
    long = statistics_of("a_corpus_with_a_very_long_name_" * 4)
    long["notes"] = ["file://" + "long/" * 60]
    long["steps"][1]["step"] = "uzushio(" + "parameter=0.123," * 12 + ")"
    page = written(tmp_path, long, statistics_of(), empty()).replace("<details", "<details open")
    frame = f'<iframe style="width:{width}px;height:800px;border:0" srcdoc="{html.escape(page)}"></iframe>'
    measure = (
        "<script>onload=()=>{const d=document.querySelector('iframe').contentDocument;"
        "document.title='measured '+d.documentElement.scrollWidth+' '+d.querySelectorAll('svg').length}</script>"
    )
    (tmp_path / "frame.html").write_text(f"<!DOCTYPE html><meta charset=utf-8>{frame}{measure}", encoding="utf-8")  # fmt: skip
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
               "--disable-background-networking", "--disable-component-update", "--disable-sync",
               f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]  # fmt: skip
    shown = subprocess.run(
        [browser, *options, f"file://{tmp_path}/frame.html"],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    measured = re.search(r"<title>measured (\d+) (\d+)</title>", shown)
    assert measured and int(measured[2]) > 20
    assert int(measured[1]) <= width
