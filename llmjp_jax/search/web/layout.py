"""What all pages have: head, navigation, the search form, and how a text of the corpus is shown."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from llmjp_jax.corpus.pipeline import report_elements
from llmjp_jax.corpus.pipeline.report_elements import Markup, breakable, element, join
from llmjp_jax.search import highlight
from llmjp_jax.search.results import Counts
from llmjp_jax.search.web.question import MODES, Question

STYLES = "\n".join(
    path.read_text(encoding="utf-8")
    for path in (
        Path(report_elements.__file__).with_name("report.css"),
        highlight.STYLES,
        Path(__file__).with_name("style.css"),
    )
)
# Its name changes with its content, so that browsers may keep it.
STYLE_NAME = f"style-{hashlib.sha256(STYLES.encode()).hexdigest()[:16]}.css"
_JAPANESE = re.compile("[\u3040-\u30ff\u31f0-\u31ff\u4e00-\u9fff\uff66-\uff9f]")
_INDENTED = re.compile(r"^(?: {2,}|\t)\S", re.MULTILINE)
_NAVIGATION = (("Search", "/"), ("Attribute a text", "/attribute"))

ByStore = Mapping[tuple[str, str], Counts]


def page(title: str, *main: str, at: str = "/", skip: str = "main") -> str:
    """A whole page.

    Args:
      at: the address of the entry of the navigation that it belongs to.
      skip: the anchor of what a reader came for.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="robots", content="noindex"),
        element("link", rel="icon", href="data:,"),
        element("title", f"{title} · Corpus search" if title else "Corpus search"),
        element("link", rel="stylesheet", href=f"/{STYLE_NAME}"),
    )
    links = (
        element(
            "li", element("a", name, href=address, aria_current="page" if address == at else None)
        )  # fmt: skip
        for name, address in _NAVIGATION
    )
    body = element(
        "body",
        element("a", "Skip to the content", href=f"#{skip}", class_="skip"),
        element(
            "header", element("nav", element("ul", *links), aria_label="Pages"), class_="top-bar"
        ),  # fmt: skip
        element("main", *main, id="main", tabindex="-1"),
    )
    return "<!DOCTYPE html>\n" + element("html", head, body, lang="en") + "\n"


def refusal_page(heading: str, sentence: str) -> str:
    """A page that says why there is no answer."""
    return page(
        heading,
        element("h1", heading),
        element("p", sentence, class_="sentence"),
        element("p", element("a", "Back to the search", href="/")),
        at="",
    )


def search_form(question: Question, modes: Sequence[str], by_store: ByStore, focus: bool = False) -> Markup:  # fmt: skip
    """The search box with its choices; `by_store`: the counts beside the filters."""
    attributes = {
        "id": "q", "name": "q", "lang": language(question.text), "autocomplete": "off", "autocapitalize": "off",
        "spellcheck": "false", "autofocus": focus,
    }  # fmt: skip
    if "\n" in question.text:  # a box of one line would lose the line ends
        box = element("textarea", Markup("\n"), question.text, rows=str(min(8, question.text.count("\n") + 2)), **attributes)  # fmt: skip
    else:
        box = element("input", type="search", value=question.text, enterkeyhint="search", **attributes)  # fmt: skip
    choices = (
        choice("radio", "mode", mode, mode == question.mode, MODES[mode][0], title=MODES[mode][1])
        for mode in modes
    )
    return element(
        "form",
        element("label", "Look for", for_="q", class_="unseen"),
        element("div", box, element("button", "Search"), class_="ask"),
        element(
            "fieldset",
            element("legend", "Find by"),
            element("div", *choices, class_="choices modes"),
        ),  # fmt: skip
        filters(question, by_store),
        action="/",
        role="search",
    )


def filters(question: Question, by_store: ByStore) -> Markup:
    """Subsets and splits to choose from, each with the documents there; none chosen: all."""
    fieldsets = []
    for name, place, chosen, others in (
        ("subset", 0, question.subsets, question.splits),
        ("split", 1, question.splits, question.subsets),
    ):
        counts: dict[str, int] = {}
        for store, found in by_store.items():
            counts.setdefault(store[place], 0)
            if not others or store[1 - place] in others:
                counts[store[place]] += found.documents
        choices = (
            choice("checkbox", name, value, value in chosen, value, counts[value])
            for value in counts
        )
        fieldsets.append(
            element(
                "fieldset",
                element("legend", f"{name.capitalize()}s"),
                element("div", *choices, class_="choices"),
            )
        )
    return element("div", *fieldsets, class_="filters")


def choice(
    kind: str, name: str, value: str, chosen: bool, label: str, count: int | None = None, title: str | None = None
) -> Markup:  # fmt: skip
    """A radio button or check box with its label, and how much there is of it."""
    counted = [] if count is None else [" ", element("small", f"{count:,}")]
    return element(
        "label",
        element("input", type=kind, name=name, value=value, checked=chosen),
        element("span", breakable(label), *counted),
        title=title,
    )


def text_block(tag: str, *children: str, text: str, class_: str = "", lines: int = 2) -> Markup:
    """A text of the corpus: `children` is `text` with its marks. Its line ends and spaces are kept.

    Args:
      lines: that are indented, from which on it looks like a program.
    """
    kind = f"{class_} source" if is_source(text, lines) else class_
    return element(tag, *children, lang=language(text), dir="auto", class_=f"text {kind}".strip())


def language(text: str) -> str | None:
    """Japanese shapes of Han characters, and the voice that reads them, where a text has any."""
    return "ja" if _JAPANESE.search(text) else None


def is_source(text: str, lines: int = 2) -> bool:
    """Whether a text looks like a program: `lines` indented lines, and no prose in Japanese."""
    head = text[:5000]
    return len(_INDENTED.findall(head)) >= lines and len(_JAPANESE.findall(head)) * 5 < len(head)


def counted(number: int, noun: str) -> str:
    """`1 document`, `2,000 documents`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def link_to_document(document: object, query: str = "", anchor: str = "") -> str:
    """The address of a document, with the question for which it was found."""
    subset, split, number = str(document).rsplit("/", 2)
    name = f"{quote(subset, safe='')}/{split}/{number}"
    return f"/document/{name}{f'?{query}' if query else ''}{f'#{anchor}' if anchor else ''}"


def listed(*items: tuple[str, str | Iterable[str]]) -> Markup:
    """A list of names with what each is."""
    rows = (
        join([element("dt", name), element("dd", *([value] if isinstance(value, str) else value))])
        for name, value in items
    )
    return element("dl", *rows, class_="facts")
