"""An attribution shown in a terminal and as a page says what it says, of any text, and lets no text act."""

import random
import re
import sys

import pytest

from llmjp_jax.corpus.pipeline.report_elements import printable
from llmjp_jax.search import Counts, DocumentId, Hit
from llmjp_jax.search.attribution import AttributedSpan, Attribution, SpanDocument
from llmjp_jax.search.highlight import fragments, html, segments, steps, summary, terminal
from llmjp_jax.search.trace import Seen
from tests.corpus.pipeline.report_page import Page

EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)></mark></a>&amp;\x1b[31m\x07\u202e\r"


def document(match, number=7, **fields):
    hit = Hit(document=DocumentId("ja", "train", number), start=0, occurrences=1, before="前", match=match,
              after=fields.pop("after", "後"), source="a.jsonl, line 8", licence=fields.pop("licence", "CC-BY-4.0"))  # fmt: skip
    return SpanDocument(hit=hit, **fields)


def attribution(text, *places, counts=Counts(1, 1), **fields):
    """The text with spans at these places, in this order."""
    spans = tuple(
        AttributedSpan(start=start, stop=stop, text=text[start:stop], size=stop - start, counts=counts,
                       documents=(document(text[start:stop], **fields),))
        for start, stop in places
    )  # fmt: skip
    covered = {place for start, stop in places for place in range(start, stop)}
    return Attribution(text=text, spans=spans, covered=len(covered) / len(text), minimum=30)


OVERLAPPING = attribution("あいうえおかきくけこ", (4, 9), (1, 6), (7, 10))


def maximal(choose, size):
    """Places of spans of which none lies in another, as they may be ranked."""
    count = choose.randint(0, size // 2)
    places = zip(
        sorted(choose.sample(range(size), count)),
        sorted(choose.sample(range(1, size + 1), count)),
        strict=True,
    )
    found = [(start, stop) for start, stop in places if start < stop]
    choose.shuffle(found)
    return found


def test_segments_of_overlapping_spans_belong_to_the_first_in_rank():
    assert list(segments(OVERLAPPING)) == [
        ("あ", (), 0, False), ("いうえ", (2,), 2, False), ("おか", (1,), 1, True), ("き", (), 1, False),
        ("くけ", (3,), 1, True), ("こ", (), 3, False),
    ]  # fmt: skip


def test_segments_join_to_the_text_and_say_of_every_character_what_covers_it():
    choose = random.Random(0)
    for _ in range(500):
        size = choose.randint(1, 30)
        found = attribution("".join(choose.choice("あb\n<") for _ in range(size)), *maximal(choose, size))  # fmt: skip
        place, begun = 0, []
        for text, begins, number, shared in segments(found):
            assert text
            for position in range(place, place + len(text)):
                covering = [n for n, span in enumerate(found.spans, 1) if span.start <= position < span.stop]  # fmt: skip
                assert number == (covering[0] if covering else 0)
                assert shared == (len(covering) > 1)
            assert all(found.spans[n - 1].start == place for n in begins)
            begun += begins
            place += len(text)
        assert place == size and sorted(begun) == list(range(1, len(found.spans) + 1))


def test_without_colours_each_span_stands_in_brackets_of_its_own():
    assert "\nあ[2: いうえ[1: おか]き[3: くけ]こ]\n" in terminal(OVERLAPPING, colours=False)


def test_colours_change_nothing_of_the_text_but_its_look():
    shown = terminal(OVERLAPPING, colours=True)
    line = shown.splitlines()[2]
    assert re.sub(r"\x1b\[[\d;]*m", "", line) == "あ 2 いうえ 1 おかき 3 くけこ"
    grounds = re.findall(r"\x1b\[30;(\d+)", line)
    assert len(set(grounds)) == 3 and line.count(";4m") == 2  # what is shared is underlined
    assert "[1:" not in shown


def test_a_colour_ends_with_its_line():
    shown = terminal(attribution("一\n\n二三", (0, 5)), colours=True).split("\n\n", 1)[1]
    for line in shown.split("\n"):
        assert line.count("\x1b[0m") == line.count("\x1b[30;")
        assert not line or line.endswith("\x1b[0m") or "\x1b[0m" in line or "30;" not in line


@pytest.mark.parametrize(
    "tty, variable, coloured", [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_colours_are_for_a_terminal_whose_user_did_not_forbid_them(
    monkeypatch, tty, variable, coloured
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: tty)
    monkeypatch.setenv("NO_COLOR", variable)
    assert ("\x1b[" in terminal(OVERLAPPING)) == coloured


def test_no_text_steers_the_terminal():
    found = attribution(EVIL, (0, len(EVIL)), after=EVIL, licence=EVIL)
    for colours in (True, False):
        shown = re.sub(r"\x1b\[(0|1|30;\d+(;4)?)m", "", terminal(found, colours=colours))
        assert not set(shown) & set(map(chr, [*range(10), *range(11, 32), 127]))
        assert "␛[31m" in shown


def test_an_entry_names_counts_documents_source_licence_and_steps():
    rows = (Seen(1500, 2, 1, 3, 9), Seen(41, 0, 0, 3, 9), Seen(42, 6, 0, 3, 5))
    found = attribution("子宮内膜炎は", (0, 6), counts=Counts(12, 1300), tokens=(3, 9), steps=rows)
    object.__setattr__(found, "trained_steps", 1200)
    expected = (
        "6 characters, in 12 documents, 1,300 times",
        "ja/train/7", "a.jsonl, line 8", "CC-BY-4.0",
        "The run saw it at step 41 (row 0), step 42 (row 6, in part), and will see it at step 1,500 (row 2).",
        "and 11 more documents",
    )  # fmt: skip
    for shown in (terminal(found, colours=False), Page(html(found)).text):
        assert [words for words in expected if words not in shown] == []


@pytest.mark.parametrize(
    "rows, whole, said",
    [
        ([], False, "The run never sees it."),
        ([], True, "The run never sees the document (it is not known which of its tokens hold the span)."),
        ([1200], False, "The run will see it at step 1,200 (row 0)."),
        ([1199], True, "The run saw the document (it is not known which of its tokens hold the span) at step 1,199 (row 0)."),
        (range(0, 1000, 100), False, "The run saw it at " + ", ".join(f"step {n} (row 0)" for n in range(0, 800, 100)) + " and 2 more."),
    ],
)  # fmt: skip
def test_steps_are_told_in_a_sentence(rows, whole, said):
    seen = tuple(Seen(step, 0, 0, 0, 4) for step in rows)
    assert steps(document("a", tokens=(0, 4), whole=whole, steps=seen), 1200) == said


def test_a_text_without_spans_is_shown_as_it_is():
    found = attribution("何もない<b>\n")
    assert summary(found) == "None of 8 characters stands in the corpus in a span of at least 30 bytes of letters and digits."  # fmt: skip
    assert terminal(found, colours=True) == f"{summary(found)}\n\n何もない<b>\n"
    page = Page(html(found))
    assert "何もない<b>\n" in page.text and page.named("ol") == [] and "Spans" not in page.text


def test_the_summary_counts():
    assert summary(OVERLAPPING) == "90 % of 10 characters stand in the corpus word for word, in 3 spans of at least 30 bytes of letters and digits."  # fmt: skip
    assert summary(attribution("あ" * 100, (0, 1))).startswith("1 % of 100 characters stands in the corpus word for word, in 1 span of")  # fmt: skip


def text_of(part):
    """What a part of a page shows of the text: without the numbers of its spans."""
    return Page(re.sub(r'<a class="span-number.*?</a>', "", part)).text


def test_the_page_shows_the_text_and_links_every_number_there_and_back():
    choose = random.Random(1)
    for _ in range(50):
        size = choose.randint(2, 40)
        text = "".join(choose.choice("あb\n<&") for _ in range(size))
        found = attribution(text, *maximal(choose, size))
        shown = html(found)
        part = re.search(r'<div class="attributed".*?</div>', shown, re.DOTALL)[0]
        assert text_of(part) == text
        tags = Page(shown).tags
        ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
        links = [attributes["href"] for tag, attributes in tags if tag == "a"]
        assert len(ids) == len(set(ids)) and {link[1:] for link in links} <= set(ids)
        for number in range(1, len(found.spans) + 1):
            assert {f"#span-{number}", f"#at-{number}"} <= set(links)


def test_neighbouring_spans_have_different_colours():
    # In rank the first and the seventh, which would share a colour if the rank decided.
    order = [0, 2, 3, 4, 5, 6, 1, 7, 8]
    found = attribution("あ" * 90, *[(10 * place, 10 * place + 10) for place in order])
    hues = re.findall(r'class="span hue-(\d)"', html(found))
    assert len(hues) == 9 and all(a != b for a, b in zip(hues, hues[1:], strict=False))


def test_markup_in_texts_is_text_and_the_page_loads_nothing():
    found = attribution(EVIL, (0, len(EVIL)), after=EVIL, licence=EVIL)
    shown = html(found, title=EVIL)
    page = Page(shown)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "iframe", "object"})
    assert not [attributes for _, attributes in page.tags if any(name.startswith("on") for name in attributes)]  # fmt: skip
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv")]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert "src=" not in re.sub(r"&lt;.*?&gt;", "", shown) and "url(" not in shown
    assert page.text.count(printable(EVIL)) >= 4 and "\x1b" not in shown


def test_documents_are_links_where_they_have_an_address():
    shown = fragments(OVERLAPPING, lambda id: f'/document?id={id}&x="<')
    links = [a["href"] for tag, a in Page(shown).tags if tag == "a"]
    assert links.count('/document?id=ja/train/7&x="<') == 3
    assert "<strong>ja/train/7</strong>" in fragments(OVERLAPPING)


def test_japanese_is_named_as_such_and_other_text_is_not():
    named = lambda found: [a.get("lang") for tag, a in Page(html(found)).tags if tag == "div"]  # noqa: E731
    assert named(OVERLAPPING) == ["ja"] and named(attribution("plain", (0, 5))) == [None]


def test_a_long_span_is_shown_in_its_entry_without_its_middle():
    text = "初" + "中" * 5000 + "末"
    for shown in (html(attribution(text, (0, 5002))), terminal(attribution(text, (0, 5002)), False)):  # fmt: skip
        assert shown.count("中" * 5000) == 1 and len(shown) < 25_000


def luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    r, g, b = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def test_text_on_each_colour_keeps_seven_to_one_by_day_and_by_night():
    shown = html(OVERLAPPING)
    inks = re.findall(r"--ink: (#\w{6})", shown)
    hues = re.findall(r"--hue-\d: (#\w{6})", shown)
    assert len(inks) == 2 and len(hues) == 12
    for ink, some in zip(inks, (hues[:6], hues[6:]), strict=True):
        for hue in some:
            dark, light = sorted([luminance(ink), luminance(hue)])
            assert (light + 0.05) / (dark + 0.05) >= 7, (ink, hue)


@pytest.fixture(scope="module")
def browser():
    import shutil

    playwright = pytest.importorskip("playwright.sync_api", reason="it drives the browser")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium is installed to look at the page")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.mark.parametrize("width", [320, 1280])
def test_in_a_browser_the_keyboard_goes_to_a_span_and_back_and_nothing_runs(
    browser, tmp_path, width
):
    text = f"本文{EVIL}" + "とても長い文章" * 40 + "x" * 300
    found = attribution(text, (0, 90), (50, 200), (150, 400), after=EVIL)
    (tmp_path / "page.html").write_text(html(found), encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 800})
    messages = []
    page.on("dialog", lambda dialog: messages.append(dialog.message) or dialog.dismiss())
    page.on("console", lambda message: messages.append(message.text))
    page.goto((tmp_path / "page.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    at = "document.activeElement.getAttribute('href')"
    stops = []
    for _ in range(3):
        page.keyboard.press("Tab")
        stops.append(page.evaluate(at))
    assert stops == ["#span-1", "#span-2", "#span-3"]
    page.keyboard.press("Enter")
    page.wait_for_url("**#span-3")
    assert page.evaluate("document.activeElement.id") == "span-3"
    page.keyboard.press("Tab")
    assert page.evaluate(at) == "#at-3"
    page.keyboard.press("Enter")
    page.wait_for_url("**#at-3")
    assert page.evaluate(at) == "#span-3"
    assert messages == []
    page.close()
