"""What the place in the page does to a paragraph: lists, headings, furniture."""

import pytest

from llmjp_jax.corpus.filters.dom import (
    Element,
    is_furniture,
    markdownize_heading,
    merge_list_tag,
    no_content_dom,
    parse_path,
)
from llmjp_jax.corpus.filters.paragraphs import document_text


def document(*paragraphs) -> dict:
    made = [
        dict(zip(("path", "text", "near_freq", "exact_freq"), one, strict=False))
        for one in paragraphs
    ]
    return {"text": "", "meta": {}, "paragraphs": made}


def test_a_path_is_read_into_tags_classes_and_ids():
    assert parse_path("body.a.b#c>div#x.y>p.q>li") == (
        Element("body", ("a", "b"), "c"),
        Element("div", (), "x.y"),  # an id may have dots
        Element("p", ("q",), None),
        Element("li", (), None),
    )
    assert parse_path("") == ()


def test_neighbours_of_one_list_become_one_paragraph_with_the_least_frequencies():
    merged = merge_list_tag(document(
        ("body>p.text", "1", 1, 1),
        ("body>ul>li.a", "2", 5, 4), ("body>ul>li.a", "3", 3, 9),
        ("body>ul>li.b", "4", 7, 7), ("body>ul>li.b", "5", 7, 8), ("body>ul>li.b", "6", 6, 9),
        ("body>ul>li.c", "7", 8, 8),
        ("body>p.text", "8", 1, 1), ("body>p.text", "9", 1, 1),
    ))["paragraphs"]  # fmt: skip
    shown = [(one["path"], one["text"], one["near_freq"], one["exact_freq"]) for one in merged]
    assert shown == [
        ("body>p.text", "1", 1, 1),
        ("body>ul>li.a", "- 2\n- 3", 3, 4),
        ("body>ul>li.b", "- 4\n- 5\n- 6", 6, 7),
        ("body>ul>li.c", "7", 8, 8),
        ("body>p.text", "8", 1, 1),
        ("body>p.text", "9", 1, 1),
    ]


def test_a_list_ends_where_the_path_changes_or_a_paragraph_is_removed():
    one = document(*[("body>select>option", str(place)) for place in range(5)])
    one["paragraphs"][2]["removed"] = "earlier"
    assert document_text(merge_list_tag(one)) == "- 0\n- 1\n- 3\n- 4"
    other = document(("body>ul>li>p", "a"), ("body>ul>li>div", "b"), ("body>ul>li>p", "c"))
    assert document_text(merge_list_tag(other)) == "a\nb\nc"
    # The list may be anywhere on the path.
    deep = document(("body>ul>li>div>p", "a"), ("body>ul>li>div>p", "b"))
    assert document_text(merge_list_tag(deep)) == "- a\n- b"


def test_a_merged_list_adds_its_link_characters_and_keeps_other_keys():
    one = document(("body>ul>li>p", "a"), ("body>ul>li>p", "bc"))
    one["paragraphs"][0].update(link_chars=1, other="kept")
    one["paragraphs"][1].update(link_chars=2)
    assert merge_list_tag(one)["paragraphs"] == [
        {"path": "body>ul>li>p", "text": "- a\n- bc", "link_chars": 3, "other": "kept"}
    ]


def test_headings_get_as_many_signs_as_their_innermost_tag_says():
    paths = [
        "body>h1",
        "body>div>h6.x#y",
        "body>h2>div>p",
        "body>h1>h3",
        "body>h7",
        "body>p",
        "body>th1",
    ]
    texts = ["# t", "###### t", "## t", "### t", "t", "t", "t"]
    assert document_text(
        markdownize_heading(document(*[(path, "t") for path in paths]))
    ) == "\n".join(texts)
    removed = document(("body>h1", "t"))
    removed["paragraphs"][0]["removed"] = "x"
    assert markdownize_heading(removed)["paragraphs"][0]["text"] == "t"


@pytest.mark.parametrize(
    "path",
    ["body>header>p", "body>div>footer", "body>aside>p", "body>nav>ul", "body>noscript>p", "body>form>div",
     "body>div.header>p", "body>div#header>p", "body>div#globalHeader>p", "body>div.site_footer>p",
     "body>ul.breadcrumbs", "body>p.inside", "body>h1#logo", "body>div.sideBar", "body>ul#gnavi>p",
     "body>div.left-box", "body>div#leftBox", "body>div.blogTitleInner>p", "body>h1.blogtitle"],
)  # fmt: skip
def test_page_furniture_is_known_by_its_tag_class_or_id(path):
    assert is_furniture(path)


@pytest.mark.parametrize(
    "path",
    ["", "body", "body>article>p", "body.header>p", "body>span.nav>p", "body>table.menu>p", "body>section#side",
     "body>div.main#content>p", "body>div.left-boxes", "body>div.Left-Box", "body>headers>p", "body>div.profile"],
)  # fmt: skip
def test_content_is_not_taken_for_furniture(path):
    assert not is_furniture(path)


def test_furniture_is_removed_and_says_why():
    one = no_content_dom(document(("body>nav>p", "a"), ("body>p", "b"), ("body>div.menu", "c")))
    assert [p.get("removed") for p in one["paragraphs"]] == [
        "no_content_dom",
        None,
        "no_content_dom",
    ]
    assert document_text(one) == "b"
