"""The pictures show the numbers they are given, in colours that can be told apart, at every width."""

import dataclasses
import html
import itertools
import math
import re
import shutil
import subprocess

import numpy as np
import pytest

from llmjp_jax.evaluation.report.findings import find
from llmjp_jax.evaluation.report.page import page
from llmjp_jax.evaluation.report.pictures import Series, bars, legend, radar, top_of
from llmjp_jax.evaluation.report.runs import read_runs
from tests.evaluation.report.report_page import Page, section

AXES = ["EL", "MC", "MR", "QA"]


def series(key, *values, paper=False):
    known = {axis: value for axis, value in zip(AXES, values, strict=True) if value is not None}
    ends = {} if paper else {axis: (value - 0.05, value + 0.05) for axis, value in known.items()}
    return Series(key, f"run {key}", known, ends, paper)


def test_a_radars_points_lie_on_their_axes_as_far_out_as_their_values():
    drawn = str(radar(AXES, [series("1", 1.0, 0.5, 0.25, 0.0)]))
    (points,) = re.findall('<polygon points="([^"]*)" class="line"', drawn)
    found = [tuple(map(float, point.split(","))) for point in points.split()]
    outer = max(math.hypot(*map(float, p.split(","))) for p in re.findall('points="([^"]*)" class="ring outer"', drawn)[0].split())  # fmt: skip
    top = top_of([series("1", 1.0, 0.5, 0.25, 0.0)])
    assert [math.hypot(*point) / outer * top for point in found] == pytest.approx([1.0, 0.5, 0.25, 0.0], abs=0.005)  # fmt: skip
    assert found[0][1] < 0 and found[1][0] > 0 and found[2][1] > 0  # up, right, down
    assert "run 1: EL 1.000, MC 0.500" in drawn


def test_bars_and_whiskers_are_as_long_as_their_numbers():
    drawn = str(bars(AXES, [series("1", 0.5, None, 0.2, 0.1), series("v2.0-L", 0.3, 0.4, 0.1, 0.2, paper=True)]))  # fmt: skip
    top = 0.6
    widths = [float(x) for x in re.findall(r'class="mark series-1"[^>]*width="([\d.]+)%"', drawn)]
    assert widths == pytest.approx([100 * v / top for v in (0.5, 0.2, 0.1)], abs=0.01)
    hollow = re.findall(r'class="mark series-2 hollow"[^>]*width="([\d.]+)%"', drawn)
    assert len(hollow) == 4
    low, high = re.findall(r'class="whisker" x1="([\d.]+)%" x2="([\d.]+)%" y1="7"', drawn)[0]
    assert (float(low), float(high)) == pytest.approx((100 * 0.45 / top, 100 * 0.55 / top), abs=0.01)  # fmt: skip
    assert "–" in re.sub("<.*?>", " ", drawn)  # the category that the first does not have


@pytest.mark.parametrize("largest, top", [(0.15, 0.2), (0.2, 0.2), (0.41, 0.6), (1.0, 1.0), (1.05, 1.2), (73.0, 80.0), (0.0, 0.2)])  # fmt: skip
def test_the_scale_ends_at_a_round_number_that_holds_everything(largest, top):
    found = top_of([Series("1", "x", {"EL": largest}, {})])
    assert found >= largest and found == pytest.approx(top if largest <= 1 else found)


def test_every_series_has_a_mark_a_colour_and_the_paper_a_dash_of_its_own():
    drawn = str(legend([series(str(k), 0.1, 0.1, 0.1, 0.1, paper=k > 3) for k in range(8)]))
    marks = re.findall(r'<(polygon points="[^"]*"|circle[^>]*r="[^"]*")', drawn)
    assert len(marks) == len(set(marks)) == 8
    assert len(set(re.findall(r'<li class="(series-\d)"', drawn))) == 8
    dashes = re.findall('stroke-dasharray="([^"]*)"', drawn)
    assert len(dashes) == len(set(dashes)) == 4


def test_beyond_eight_lines_there_are_bars_alone(runs_dir):
    (run,) = read_runs([runs_dir / "base"])
    run = dataclasses.replace(run, tasks={name: task for name, task in run.tasks.items() if name != "jsts"})  # fmt: skip
    rows = [f"v1.0-{name}" for name in "ABCDEFGH"]
    text = section(page(find([run], rows, progress=False)), "categories")
    assert 'class="radar"' not in text and "9 lines would hide one another" in text
    assert text.count('class="mark series-1"') >= 5
    text = section(page(find([run], rows[:7], progress=False)), "categories")
    assert len(re.findall('<svg class="radar"', text)) == 1
    assert len(re.findall('class="line"[^>]*stroke-dasharray', text.split("</svg>")[0])) == 7


def test_beside_the_papers_rows_runs_are_drawn_as_llm_jp_eval_scores_them(runs_dir):
    (run,) = read_runs([runs_dir / "base"])
    run = dataclasses.replace(run, tasks={name: task for name, task in run.tasks.items() if name != "jsts"},
                              compat_categories={**run.compat_categories, "EL": run.categories["EL"] - 0.1})  # fmt: skip
    findings = find([run], ["v2.0-L"], progress=False)
    cell = next(row for row in findings.categories if row.name == "EL").cells[0]
    drawn = section(page(findings), "categories").split("</svg>")[0]
    assert f"base: EL {cell.compat:.3f}" in html.unescape(drawn) and cell.value != cell.compat
    drawn = section(page(find([run], [], progress=False)), "categories").split("</svg>")[0]
    assert f"base: EL {cell.value:.3f}" in html.unescape(drawn)


def colours(runs_dir):
    """Light and dark mode's colours by name."""
    (run,) = read_runs([runs_dir / "base"])
    text = page(find([dataclasses.replace(run, tasks={})], [], progress=False))
    (style,) = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    modes = [{}, {}]
    for place, part in enumerate(re.split(r"@media screen and \(prefers-color-scheme: dark\)", style)):  # fmt: skip
        for light_or_dark, root in enumerate(re.findall(r":root \{(.*?)\}", part, re.DOTALL)):
            dark = place > 0 and light_or_dark == 0
            modes[dark] |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", root))
    return modes


def linear(colour):
    parts = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(first, second):
    low, high = sorted(linear(colour) @ [0.2126, 0.7152, 0.0722] for colour in (first, second))
    return (high + 0.05) / (low + 0.05)


# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB: no loss, and without red, green, blue cones.
SIGHT = {
    "all": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
}  # fmt: skip


def lab(rgb):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb  # fmt: skip
    x, y, z = np.cbrt(np.maximum(xyz / [0.9505, 1, 1.089], 0))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_series_stand_out_from_the_ground_and_from_one_another_for_every_eye(runs_dir, mode):
    known = colours(runs_dir)[mode]
    names = [f"series-{k}" for k in range(1, 9)]
    for name in names:
        assert contrast(known[name], known["ground"]) >= 3, name
    for sight, matrix in SIGHT.items():
        seen = [lab(np.clip(matrix @ linear(known[name]), 0, 1)) for name in names]
        for (one, first), (two, second) in itertools.combinations(zip(names, seen, strict=True), 2):
            assert np.linalg.norm(first - second) >= 18, (sight, one, two)
    for name in ("right", "wrong", "ink", "muted"):
        assert contrast(known[name], known["ground"]) >= 4.5, name


@pytest.mark.parametrize("width", [360, 1200])
def test_a_browser_shows_the_page_without_scrolling_sideways(report, tmp_path, width):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed to lay the page out")
    text = (report[0] / "report.html").read_text(encoding="utf-8").replace("<details", "<details open")  # fmt: skip
    Page(text)
    frame = f'<iframe style="width:{width}px;height:800px;border:0" srcdoc="{html.escape(text)}"></iframe>'
    measure = (
        "<script>onload=()=>{const d=document.querySelector('iframe').contentDocument;"
        "document.title='measured '+d.documentElement.scrollWidth+' '+d.querySelectorAll('svg.score').length}</script>"
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
    assert measured and int(measured[2]) >= 15
    assert int(measured[1]) <= width
