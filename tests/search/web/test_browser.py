"""The pages in a real browser: search, filter, open, attribute; by keyboard, on a phone, without JavaScript; nothing of a document
runs."""

from __future__ import annotations

import re

import pytest

from llmjp_jax.search import DocumentId, Where
from tests.search.web.conftest import HOSTILE

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


@pytest.fixture
def open_page(chromium, server):
    """open_page(path, viewport, **options): a page in a context of its own, which must run nothing and ask for nothing elsewhere."""
    contexts, alarms = [], []

    def open_page(path: str = "/", viewport=DESKTOP, **options):
        context = chromium.new_context(viewport=viewport, base_url=server.url, **options)
        context.set_default_timeout(15_000)
        contexts.append(context)
        page = context.new_page()
        page.on("dialog", lambda dialog: (alarms.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: alarms.append(str(error)))
        page.on("request", lambda request: None if request.url.startswith((server.url, "data:")) else alarms.append(request.url))  # fmt: skip
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert alarms == []


@pytest.fixture(params=[True, False], ids=["with JavaScript", "without JavaScript"])
def scripts(request) -> bool:
    return request.param


def test_a_reader_searches_filters_opens_and_comes_back(open_page, index, scripts):
    page = open_page(java_script_enabled=scripts)
    page.fill("#q", "彼女")
    page.click("button:text-is('Search')")
    expected = index.find_text("彼女")
    assert page.inner_text("h1") == f"{expected.counts.documents:,} documents"
    assert page.locator(".hits mark").all_inner_texts() == ["彼女"] * 10

    page.check("input[name=split][value=validation]")
    page.click("button:text-is('Search')")
    filtered = index.find_text("彼女", Where(splits=("validation",)))
    assert 0 < filtered.counts.documents < expected.counts.documents
    assert page.inner_text("h1") == f"{filtered.counts.documents:,} document{'s' * (filtered.counts.documents > 1)}"  # fmt: skip
    assert page.is_checked("input[name=split][value=validation]")

    results = page.url
    page.click(".hits h2 a")
    document = index.document(filtered.hits[0].document)
    assert page.inner_text("h1") == str(document.id)
    assert page.inner_text(".whole") == document.text
    assert page.inner_text("mark#match-1") == "彼女"
    assert document.source in page.inner_text("main") and document.licence in page.inner_text("main")  # fmt: skip
    page.click("text=Back to the results")
    assert page.url == results


def test_a_reader_pages_through_the_hits(open_page, index):
    page = open_page("/?q=彼女")
    page.click("a:text-is('Next')")
    second = index.find_text("彼女", offset=10).hits
    assert page.locator(".hits h2 a").all_inner_texts() == [str(hit.document) for hit in second]


def test_a_reader_attributes_a_text(open_page, small_corpora, scripts):
    first, second = (max(small_corpora.texts[name, "train"][:50], key=len) for name in ("ja", "en"))
    page = open_page("/attribute", java_script_enabled=scripts)
    page.fill("#text", f"前置き。{first}\n<i>{second}")
    page.click("button:text-is('Attribute')")
    assert page.url.endswith("/attribute#found")
    spans = page.locator("ol.spans > li")
    assert spans.count() >= 2
    assert first in page.inner_text(".attributed") and "<i>" in page.inner_text(".attributed")
    assert page.input_value("#text") == f"前置き。{first}\n<i>{second}"
    spans.first.locator("a[href^='/document/']").first.click()
    assert page.locator("mark#match-1").count() == 1


def test_nothing_found_is_said(open_page):
    page = open_page("/?q=zqxjk")
    assert page.inner_text("h1") == "Nothing found"
    page.click("text=Look for its words")
    assert "mode=ranked" in page.url and page.inner_text("h1") == "Nothing found"


def test_a_document_says_when_it_was_seen(open_page, trace):
    id = DocumentId("ja", "train", 40)
    page = open_page(f"/document/{id}")
    rows = page.locator(".steps-table tbody tr")
    assert rows.count() == len(trace.seen(id))
    assert rows.first.inner_text().split("\t")[0] == f"{trace.seen(id)[0].step:,}"


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_a_document_is_shown_and_not_run(open_page, number):
    text = HOSTILE[number]["text"]
    page = open_page("/?q=hostile&subset=hostile")
    assert page.locator(".hits > li").count() == len(HOSTILE)
    page.goto(f"/document/hostile/train/{number}?q=hostile")
    if "\x1b" not in text:
        assert page.inner_text(".whole") == text
    page.goto("/attribute")
    page.fill("#text", text + text)
    page.click("button:text-is('Attribute')")
    page.wait_for_timeout(50)
    assert page.evaluate("window.hit") is None
    assert page.locator("main img, main script, main style, main [onerror], [href^='javascript']").count() == 0  # fmt: skip
    assert page.is_visible("ol.spans")


def test_what_a_page_would_run_is_forbidden(open_page):
    """Even if markup got through, the policy stops it."""
    page = open_page("/")
    refused = page.evaluate(
        """() => new Promise(done => {
            document.addEventListener('securitypolicyviolation', event => done(event.effectiveDirective));
            const script = document.createElement('script');
            script.textContent = 'window.hit = 1';
            document.body.append(script);
        })"""
    )
    assert refused.startswith("script-src") and page.evaluate("window.hit") is None


def test_a_query_of_100_kb_is_refused_politely(open_page):
    page = open_page("/")
    page.fill("#q", "a" * 100_000)
    page.press("#q", "Enter")
    assert page.inner_text("h1") == "Too long"
    assert "10,000 are the most" in page.inner_text("main")
    page.click("text=Back to the search")
    assert page.inner_text("h1") == "Search the training corpus"


@pytest.mark.parametrize("size", [100_000, 10_000_000])
def test_a_text_that_is_too_long_is_refused_politely(open_page, size):
    page = open_page("/attribute")
    # Into a field that is not laid out, which takes the browser long.
    page.evaluate(
        """size => {
            const field = Object.assign(document.createElement('input'), {type: 'hidden', name: 'text', value: 'a'.repeat(size)});
            document.querySelector('#text').replaceWith(field);
        }""",
        size,
    )
    page.click("button:text-is('Attribute')")
    page.wait_for_selector("h1:text-is('Too long')")
    assert "10,000" in page.inner_text("main")


def test_everything_is_done_by_keyboard(open_page, index):
    page = open_page("/")
    keys = page.keyboard

    def focused() -> str:
        return page.evaluate("document.activeElement.textContent || document.activeElement.value")

    def tab_to(text: str) -> None:
        for _ in range(60):
            if focused() == text:
                return
            keys.press("Tab")
            if page.evaluate("document.activeElement === document.body"):  # past the last one
                continue
            outline = page.evaluate("getComputedStyle(document.activeElement.matches('.choices input') ? document.activeElement.nextSibling : document.activeElement).outlineStyle")  # fmt: skip
            assert outline == "solid", f"the focus on {focused()!r} is not seen"
        raise AssertionError(f"the keyboard does not reach {text!r}")

    keys.insert_text("彼女")  # the box has the focus
    keys.press("Enter")
    page.wait_for_url(re.compile(r"/\?q="))
    keys.press("Tab")
    assert focused() == "Skip to the content"
    keys.press("Enter")
    keys.press("Tab")
    first = index.find_text("彼女").hits[0]
    assert focused() == str(first.document)
    keys.press("Enter")
    page.wait_for_url("**/document/**")
    tab_to("Back to the results")
    keys.press("Enter")
    page.wait_for_url(re.compile(r"/\?q="))
    tab_to("validation")
    keys.press("Space")
    keys.press("Enter")
    page.wait_for_url("**split=validation*")
    tab_to("text")
    keys.press("ArrowRight")
    keys.press("Enter")
    page.wait_for_url("**mode=ranked*")
    tab_to("Attribute a text")
    keys.press("Enter")
    page.wait_for_url("**/attribute")
    page.locator("#text").focus()
    keys.insert_text(index.document(first.document).text)
    tab_to("Attribute")
    keys.press("Enter")
    page.wait_for_url("**/attribute#found")
    assert page.inner_text("#found") == "What stands in the corpus"


PATHS = [
    "/",
    "/?q=彼女",
    "/?q=self&mode=ranked",
    "/?q=" + "長" * 300,
    "/?q=zqxjk",
    "/document/code/train/0?q=self",
    "/document/hostile/train/1?q=hostile",
    "/document/ja/train/40?q=。",
    "/attribute",
    "/nothing",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_phone_shows_all_without_scrolling_sideways(open_page, path):
    page = open_page(path, PHONE, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    small = page.evaluate(
        """() => [...document.querySelectorAll('button, .choices label, .pages a, .ways a, .top-bar a, .hits h2 a, summary, #q, #text')]
            .filter(one => one.getBoundingClientRect().height < 43.5 && !one.matches('h2'))
            .map(one => one.outerHTML.slice(0, 100))"""
    )
    assert small == []


@pytest.mark.parametrize("path", PATHS)
def test_every_page_has_its_landmarks_and_names(open_page, path):
    page = open_page(path)
    assert page.locator("h1").count() == 1 and page.locator("main").count() == 1
    assert page.title().endswith("Corpus search") and page.get_attribute("html", "lang") == "en"
    assert page.evaluate("[...document.querySelectorAll('[id]')].length === new Set([...document.querySelectorAll('[id]')].map(one => one.id)).size")  # fmt: skip
    nameless = page.evaluate("[...document.querySelectorAll('input, textarea, button')].filter(one => one.tagName === 'BUTTON' ? !one.textContent : !one.labels.length).length")  # fmt: skip
    assert nameless == 0
    dangling = page.evaluate("[...document.querySelectorAll(\"a[href^='#']\")].filter(one => !document.getElementById(one.hash.slice(1))).map(one => one.hash)")  # fmt: skip
    assert dangling == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_marks_links_and_text_keep_their_contrast(open_page, scheme):
    page = open_page("/?q=彼女", color_scheme=scheme)
    for selector, least in (("mark", 7), (".hits .origin", 4.5), (".hits h2 a", 4.5), ("button", 4.5), (".choices small", 4.5)):  # fmt: skip
        ink, ground = page.evaluate(
            """selector => {
                let one = document.querySelector(selector);
                const ink = getComputedStyle(one).color;
                while (getComputedStyle(one).backgroundColor === 'rgba(0, 0, 0, 0)') one = one.parentElement;
                return [ink, getComputedStyle(one).backgroundColor];
            }""",
            selector,
        )
        assert contrast(ink, ground) >= least, (selector, ink, ground)


def contrast(first: str, second: str) -> float:
    """The contrast ratio of WCAG 2 of two colours `rgb(1, 2, 3)`."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]  # fmt: skip
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_japanese_text_is_marked_as_such_and_set_with_room(open_page):
    page = open_page("/document/ja/train/40?q=。")
    style = page.evaluate("(({lineHeight, fontSize, lineBreak, whiteSpace, fontFamily}) => ({lineHeight, fontSize, lineBreak, whiteSpace, fontFamily}))(getComputedStyle(document.querySelector('.whole')))")  # fmt: skip
    assert page.get_attribute(".whole", "lang") == "ja"
    assert float(style["lineHeight"][:-2]) >= 1.8 * float(style["fontSize"][:-2])
    assert style["lineBreak"] == "strict" and style["whiteSpace"] == "pre-wrap"
    assert "Hiragino Sans" in style["fontFamily"] and "Noto Sans CJK JP" in style["fontFamily"]
    page.goto("/document/code/train/0")
    assert "\n    " in page.inner_text(".whole")
    assert "monospace" in page.evaluate("getComputedStyle(document.querySelector('.whole')).fontFamily")  # fmt: skip
