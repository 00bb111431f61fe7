"""What the pages and the JSON say is what the index says, and what documents hold is text on them."""

from __future__ import annotations

import html.parser
import json
import re

import pytest

from llmjp_jax.search import DocumentId, Where
from llmjp_jax.search.attribution import attribute
from llmjp_jax.search.web import Application
from llmjp_jax.search.web import application as application_module
from llmjp_jax.search.web.response import json_response
from tests.search.small_corpora import ODD
from tests.search.web.conftest import HOSTILE, ask, serving

TAGS = {
    "html", "head", "meta", "link", "title", "body", "a", "header", "nav", "ul", "ol", "li", "main", "form", "label", "div", "input",
    "button", "fieldset", "legend", "span", "small", "section", "aside", "h1", "h2", "p", "table", "caption", "thead", "tbody",
    "tfoot", "tr", "th", "td", "wbr", "blockquote", "mark", "details", "summary", "dl", "dt", "dd", "i", "textarea", "strong",
}  # fmt: skip
VOID = {"meta", "link", "input", "wbr"}


class Page(html.parser.HTMLParser):
    """The tags, attributes and text of a page; its tags must be closed in order."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.attributes, self.texts, self.links, self._open = set(), set(), [], [], []
        self.by_tag: dict[str, list[str]] = {}
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}
        self.links += [value for name, value in attributes if name in ("href", "src", "action")]
        if tag not in VOID:
            self._open.append(tag)
            self.by_tag.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, text):
        self.texts.append(text)
        for tag in set(self._open):
            self.by_tag[tag][-1] += text

    @property
    def text(self) -> str:
        return "".join(self.texts)


def test_the_front_page_says_what_the_index_holds(server, index):
    page = Page(ask(server).text)
    for store in index.stores.values():
        assert f"{store.subset}/{store.split}" in page.text and f"{store.documents:,}" in page.text


@pytest.mark.parametrize("mode", ["text", "ranked", "tokens"])
@pytest.mark.parametrize("where", [{}, {"subset": ["ja"]}, {"split": ["train"], "subset": ["en", "ja"]}])  # fmt: skip
def test_json_is_the_answer_of_the_index(server, index, mode, where):
    subsets, splits = (tuple(where.get(name, ())) or None for name in ("subset", "split"))
    text = {"text": "です。", "ranked": "彼女の本 the book", "tokens": "彼"}[mode]
    answer = ask(server, "/api/search", q=text, mode=mode, limit=7, offset=2, **where).json
    if mode == "tokens":
        expected = index.find_tokens(index.vocabulary.encode(text), Where(subsets, splits), 7, 2)
    else:
        find = index.find_text if mode == "text" else index.rank
        expected = find(text, Where(subsets, splits), limit=7, offset=2)
    assert expected.counts.documents and len(expected.hits) > 1
    assert (answer["documents"], answer["occurrences"]) == expected.counts
    assert [hit["document"] for hit in answer["hits"]] == [str(hit.document) for hit in expected.hits]  # fmt: skip
    assert [hit["before"] + hit["match"] + hit["after"] for hit in answer["hits"]] == [
        hit.before + hit.match + hit.after for hit in expected.hits
    ]
    stores = {(one["subset"], one["split"]): (one["documents"], one["occurrences"]) for one in answer["stores"]}  # fmt: skip
    assert stores == dict(expected.by_store)


def test_the_page_has_the_counts_the_hits_and_their_marks(server, index):
    expected = index.find_text("ました")
    page = Page(ask(server, q="ました").text)
    assert page.by_tag["h1"] == [f"{expected.counts.documents:,} documents"]
    assert f"{expected.counts.occurrences:,} occurrences" in page.text
    assert page.by_tag["mark"] == ["ました"] * 10
    assert [link.split("?")[0] for link in page.links if link.startswith("/document/")] == [
        f"/document/{hit.document}" for hit in expected.hits
    ]
    assert all(hit.source in page.text and hit.licence in page.text for hit in expected.hits)


def test_the_filters_count_what_was_filtered_out_too(server, index):
    page = ask(server, q="a", subset="ja").text
    everywhere = index.find_text("a").by_store
    for subset in ("en", "code", "ja"):
        count = sum(counts.documents for store, counts in everywhere.items() if store[0] == subset)
        assert f"<span>{subset} <small>{count:,}</small></span>" in page
    assert Page(page).by_tag["h1"] == [
        f"{sum(n.documents for store, n in everywhere.items() if store[0] == 'ja'):,} documents"
    ]


def test_the_pages_of_an_answer_hold_every_hit_once(server, index):
    expected = index.find_text("彼女", limit=1000).hits
    assert len(expected) > 20
    found = []
    for page in range(1, -(-len(expected) // 10) + 1):
        links = Page(ask(server, q="彼女", page=page).text).links
        found += [link.split("?")[0] for link in links if link.startswith("/document/")]
    assert found == [f"/document/{hit.document}" for hit in expected]
    beyond = ask(server, q="彼女", page=999)
    assert beyond.status == 200 and "The answer has no page 999." in Page(beyond.text).text


def test_nothing_found_is_said_and_other_ways_are_offered(server):
    page = Page(ask(server, q="zqxjk", subset="ja").text)
    assert page.by_tag["h1"] == ["Nothing found"]
    assert "/?q=zqxjk&mode=text" in page.links and "/?q=zqxjk&mode=ranked&subset=ja" in page.links


def test_a_document_shows_all_its_text_and_every_match(server, index):
    hit = index.find_text("self", Where(("code",))).hits[0]
    document = index.document(hit.document)
    text, marks, part = "", [], 0
    while len(text) < len(document.text):
        part += 1
        page = Page(ask(server, f"/document/{hit.document}", q="self", part=part).text)
        text += next(one for one in page.by_tag["div"] if one and one in document.text and len(one) > 500)  # fmt: skip
        marks += page.by_tag.get("mark", [])
    assert part > 1 and text == document.text and marks == ["self"] * hit.occurrences


def test_a_link_leads_to_the_part_with_the_first_match(server, index):
    document = index.document(DocumentId("code", "train", 0))
    word = next(w for w in re.findall(r"\w{8,}", document.text[40_000:]) if w not in document.text[:40_000])  # fmt: skip
    page = ask(server, f"/document/{document.id}", q=word).text
    assert f'<mark id="match-1">{word}</mark>' in page


def test_a_document_says_when_it_was_and_will_be_seen(server, trace):
    id = DocumentId("ja", "train", 40)
    seen = trace.seen(id)
    assert {one.step < trace.trained_steps for one in seen} == {True, False}
    page = Page(ask(server, f"/document/{id}").text)
    for one in seen:
        assert f"{one.step:,}" in page.by_tag["th"]
    done = sum(one.step < trace.trained_steps for one in seen)
    assert f"It saw tokens of this document in {done} row" in page.text
    assert f"{trace.trained_steps:,} of {trace.total_steps:,} steps" in page.text
    assert ask(server, f"/api/document/{id}").json["seen"] == [one._asdict() for one in seen]
    assert "It is not trained on en/train." in ask(server, "/document/en/train/1").text


def test_without_a_run_a_document_says_how_to_give_one(index):
    with serving(Application(index)) as server:
        assert "--run=MODEL_DIR" in ask(server, "/document/ja/train/0").text
        assert ask(server, "/api/document/ja/train/0").json["seen"] is None


def test_a_pasted_text_is_attributed(server, index, small_corpora):
    first, second = small_corpora.texts["ja", "train"][5], small_corpora.texts["en", "train"][7]
    text = f"前置き。{first}\r\n{second} zqxjk"
    expected = attribute(text.replace("\r\n", "\n"), index, progress=False)
    assert expected.spans
    page = Page(ask(server, "/attribute", "POST", text=text).text)
    assert all(span.text in page.text for span in expected.spans)
    hit = expected.spans[0].hits[0]
    assert any(link.startswith(f"/document/{hit.document}?q=") for link in page.links)
    assert any(one.lstrip("\n") == text.replace("\r\n", "\n") for one in page.by_tag["textarea"])
    found = ask(server, "/api/attribute", "POST", text=text).json
    assert [(one["start"], one["stop"], one["documents"]) for one in found["spans"]] == [
        (span.start, span.stop, span.counts.documents) for span in expected.spans
    ]
    assert found["spans"][0]["hits"][0]["seen"] or found["spans"][-1]["hits"][0]["seen"]


def test_an_attribution_looks_only_where_it_should(server, small_corpora):
    text = small_corpora.texts["ja", "train"][5]
    here = ask(server, "/api/attribute", "POST", text=text, subset="ja", split="train").json
    assert here["covered"] == 1
    assert ask(server, "/api/attribute", "POST", text=text, subset="code").json["spans"] == []


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_markup_in_a_document_is_text(server, number):
    text = HOSTILE[number]["text"]
    for path, fields in (
        (f"/document/hostile/train/{number}", {"q": text[8:30]}),
        ("/", {"q": text}),
        ("/", {"q": text[:7]}),
        ("/", {"q": text[-4:]}),
        ("/", {"q": text, "mode": "ranked"}),
    ):
        page = Page(ask(server, path, **fields).text)
        assert page.tags <= TAGS
        assert not [name for name in page.attributes if name.startswith("on") or name == "style"]
        assert all(link.startswith(("/", "#", "https://example.org/a", "data:,")) for link in page.links)  # fmt: skip
    page = Page(ask(server, f"/document/hostile/train/{number}").text)
    if "\x1b" not in text:
        assert text in page.by_tag["div"]
    page = Page(ask(server, "/attribute", "POST", text=text).text)
    assert page.tags <= TAGS


def test_the_oddest_documents_have_a_page(server, small_corpora):
    first = small_corpora.texts["ja", "train"].index(ODD[0])
    for number, text in enumerate(ODD, first):
        page = Page(ask(server, f"/document/ja/train/{number}", q=text).text)
        assert page.tags <= TAGS
        answer = ask(server, f"/api/document/ja/train/{number}")
        assert answer.json["text"] == text
        if text:
            assert ask(server, "/api/search", q=text).json["documents"]
            assert ask(server, q=text).status == 200


@pytest.mark.parametrize(
    ("path", "fields", "status", "said"),
    [
        ("/", {"q": "x" * 10_001}, 413, "The query has 10,001 characters, and 10,000 are the most"),
        ("/", {"q": "x", "mode": "txt"}, 400, "There is no mode 'txt', did you mean text?"),
        ("/", {"q": "x", "mode": "near"}, 400, "There is no mode 'near'"),
        ("/", {"q": "x", "subset": "jp"}, 400, "There is no subset 'jp', did you mean ja?"),
        ("/", {"q": "x", "split": "<b>"}, 400, "There is no split '<b>'"),
        ("/", {"q": "x", "page": "0"}, 400, "page must be a whole number from 1"),
        ("/", {"q": "x", "page": "１"}, 400, "page must be a whole number from 1"),
        ("/", {"q": "a", "mode": "ranked", "page": "101"}, 400, "Only the 1,000 best documents"),
        ("/", {"q": "1 x", "mode": "ids"}, 400, "'x' is no token id"),
        ("/", {"q": " ", "mode": "ids"}, 400, "'' is no token id"),
        ("/", {"q": "9" * 30, "mode": "ids"}, 400, "is no token id"),
        ("/api/search", {}, 400, "There is nothing to look for"),
        ("/api/search", {"q": "x", "limit": "101"}, 400, "limit must be a whole number from 0 to 100"),
        ("/document/ja/train/99999999", {}, 404, "ja/train has"),
        ("/document/ja/test/1", {}, 404, "There is no such document"),
        ("/nothing", {}, 404, "There is no such page."),
        ("/style.css", {}, 404, "There is no such page."),
    ],
)  # fmt: skip
def test_a_question_that_cannot_be_answered_gets_a_sentence(server, path, fields, status, said):
    answer = ask(server, path, **fields)
    assert answer.status == status
    if path.startswith("/api/"):
        assert said in answer.json["error"]
    else:
        assert said in Page(answer.text).text and "<b>" not in answer.text


def test_no_sentence_tells_where_the_index_lies(server, index):
    for fields in ({"q": ""}, {"q": "x", "subset": "nowhere"}):
        assert str(index.folder) not in ask(server, "/api/search", **fields).text
    assert str(index.folder) not in ask(server, "/document/x/y/1").text


def test_a_defect_is_told_to_the_terminal_alone(index, monkeypatch, capfd):
    with serving(Application(index)) as server:
        monkeypatch.setattr(index, "find_text", lambda *_, **__: {}["secret"])
        answer = ask(server, q="x")
        assert answer.status == 500 and "The server made a mistake" in answer.text
        assert "secret" not in answer.text and "Traceback" not in answer.text
        assert ask(server, "/api/search", q="x").json["error"].startswith("The server made")
        monkeypatch.undo()
        assert ask(server, q="x").status == 200
    written = capfd.readouterr().err
    assert "KeyError: 'secret'" in written and "Traceback" in written


def test_attributions_do_not_keep_searches_waiting(index, monkeypatch):
    monkeypatch.setattr(application_module, "WAIT_SECONDS", 0.1)
    application = Application(index)
    with serving(application) as server:
        for _ in range(application_module.ATTRIBUTIONS):
            application._attributions.acquire()
        busy = ask(server, "/attribute", "POST", text="a text of some length")
        assert busy.status == 503 and busy.headers["Retry-After"] == "10"
        assert "Too many ask" in busy.text
        assert ask(server, q="a").status == 200
        application._attributions.release()
        assert ask(server, "/attribute", "POST", text="a text of some length").status == 200


def test_an_attribution_is_given_up_after_a_time(index):
    with serving(Application(index, attribution_seconds=-1)) as server:
        answer = ask(server, "/attribute", "POST", text="図書館で勉強するつもりです。" * 3)
        assert answer.status == 503 and "give a shorter text" in answer.text


def test_search_by_meaning_is_offered_where_the_index_has_it(index):
    class Near:
        def nearest(self, text, where, limit):
            return index.rank(text, where, limit)

    with serving(Application(index, near=Near())) as server:
        assert 'value="near"' in ask(server).text
        page = Page(ask(server, q="library", mode="near", page=2).text)
        assert page.by_tag["h1"][0].startswith("The nearest of")
        expected = index.rank("library", limit=10, offset=10).hits
        assert [link.split("?")[0] for link in page.links if "/document/" in link] == [
            f"/document/{hit.document}" for hit in expected
        ]


def test_half_a_character_in_json_is_its_escape():
    response = json_response({"meta": "猫\ud800"})
    assert "猫".encode() in response.body
    assert json.loads(response.body) == {"meta": "猫\ud800"}
