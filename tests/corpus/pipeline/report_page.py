"""Statistics for the report's tests, and ways to look into the page made of them."""

import re
from html.parser import HTMLParser

from llmjp_jax.corpus.pipeline.report import write_report
from llmjp_jax.corpus.pipeline.report_elements import VOID

SCRIPTS = ("hiragana", "katakana", "han", "latin", "digit", "space", "other")
# (label, kind, documents out, bytes out); 1,234,567 documents of 3,400,000,000 bytes come in.
STEPS = [
    ("read", "read", 1_234_500, 3_399_000_000),
    ("is_japanese(lookup=50)", "filter", 1_000_000, 3_000_000_000),
    ("extract_japanese_text", "map", 1_000_000, 2_900_000_000),
    ("near_duplicates(threshold=0.8)", "dedup", 400_000, 1_100_000_000),
    ("split", "split", 400_000, 1_100_000_000),
]


def statistics_of(name="ja_cc", steps=STEPS, documents=1_234_567, text=3_400_000_000):
    rows = []
    for label, kind, left, text_left in steps:
        rows.append({"step": label, "kind": kind, "documents_in": documents, "documents_out": left,
                     "bytes_in": text, "bytes_out": text_left})  # fmt: skip
        documents, text = left, text_left
    sample = {"id": "http://example.com/1", "text": "吾輩は猫である。\n名前はまだ無い。", "characters": 374}  # fmt: skip
    return {
        "corpus": name, "format": 1, "configuration": {"inputs": "raw/*.jsonl", "steps": ["not_empty"]},
        "steps": rows,
        "broken": {"total": 67, "by_reason": {"no JSON": 7, "not UTF-8": 60},
                   "examples": [{"file": "a.jsonl.gz", "position": "line 17", "reason": "no JSON"}]},
        "notes": ["step kenlm left out: no model was given"],
        "dropped_samples": {"is_japanese(lookup=50)": [{"id": "d1", "text": "no kana", "characters": 7}]},
        "kept_samples": [sample],
        "histograms": {
            "length": {"edges": [0, 1, 2, 4, 8, 16], "input": [0, 100, 300, 200, 50, 0], "output": [0, 0, 10, 150, 40, 0]},
            "script": {"input": dict(zip(SCRIPTS, (50, 10, 20, 10, 5, 4, 1), strict=True)),
                       "output": dict(zip(SCRIPTS, (60, 10, 25, 0, 0, 4, 1), strict=True))},
        },
        "outputs": [{"file": "train_0.jsonl.zst", "split": "train", "documents": documents, "bytes": 1234, "sha256": "a" * 64}],
    }  # fmt: skip


def empty():
    zeros = dict.fromkeys(SCRIPTS, 0)
    nothing = statistics_of(
        "nothing", [("read", "read", 0, 0), ("not_empty", "filter", 0, 0)], 0, 0
    )
    return nothing | {
        "broken": {"total": 0, "by_reason": {}, "examples": []}, "dropped_samples": {}, "kept_samples": [],
        "outputs": [], "notes": [],
        "histograms": {"length": {"edges": [0, 1, 2], "input": [0, 0, 0], "output": [0, 0, 0]},
                       "script": {"input": zeros, "output": zeros}},
    }  # fmt: skip


class Page(HTMLParser):
    """A page's tags and text; fails where tags do not match."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self._open = [], "", []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open[-1:] != ["style"]:
            self.text += data

    def named(self, tag, class_=None):
        return [found for name, found in self.tags
                if name == tag and (class_ is None or class_ in (found.get("class") or "").split())]  # fmt: skip


def written(tmp_path, *corpora):
    write_report(corpora, tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def section_of(page, heading):
    """The part of the page from an h3 to the next."""
    return page.split(f"<h3>{heading}</h3>")[1].split("<h3>")[0]


def widths(svg_part, class_):
    return [float(x) for x in re.findall(rf'<rect class="{class_}"[^>]*? width="([\d.]+)%"', svg_part)]  # fmt: skip
