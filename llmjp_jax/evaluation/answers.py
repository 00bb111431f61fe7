"""What is scored of a model's raw text, and of a gold answer. Comparing the two is `metrics/`."""

from __future__ import annotations

import re
import unicodedata

from llmjp_jax.evaluation.metrics import check_compat

_BLANK_LINE = re.compile(r"\n\s*\n")
_NOTHING = "\u200b\ufeff"  # a zero-width space and a byte order mark: no white space to Python, and nothing to a reader
_VISIBLE = re.compile(rf"[^\s{_NOTHING}]")
_FENCE = re.compile(r"^[ \t]*```[^\n`]*\n(.*?)(?:^[ \t]*```|\Z)", re.DOTALL | re.MULTILINE)
# What opens the next part of LLM-jp's prompts, where a model goes on to write one itself.
_NEXT_PART = re.compile(r"^### ?(?:指示|入力|応答|回答|質問)[:：]", re.MULTILINE)


def parse_answer(raw: str, compat: str | None = None, *, strip: bool = True) -> str:
    """The part of a model's raw text that is scored.

        parse_answer("\\n\\nＮＨＫ \\n\\n### 入力:\\n...") = "NHK"       with llm_jp_eval_1_3: ""

    What lies before the first blank line, in Unicode's NFKC, stripped. Blank lines in front are passed over, a line of white
    space is blank, and CR LF ends a line as LF does.

    Args:
      compat: 'llm_jp_eval_1_3' cuts at the first two newlines in a row, even at the start, and normalises after that.
      strip: with compat: white space at both ends goes, between the two, as in copies of llm-jp-eval 1.3 since June 2024;
        False for 1.3.0 itself, which leaves it.
    """
    check_compat(compat)
    if compat:
        answer = raw.split("\n\n")[0]
        return unicodedata.normalize("NFKC", answer.strip() if strip else answer)
    text = _stripped(raw.replace("\r\n", "\n").replace("\r", "\n"))
    return _stripped(unicodedata.normalize("NFKC", _BLANK_LINE.split(text, maxsplit=1)[0]))


def answer_is_whole(raw: str) -> bool:
    """Whether nothing that a model goes on to write can change what `parse_answer` gives, in either version.

    That is so once a blank line has come. Most models go on with a question of their own, up to hundreds of tokens.
    """
    visible = _VISIBLE.search(raw)
    return visible is not None and "\n\n" in raw[visible.start() :]


def parse_gold(text: str, compat: str | None = None) -> str:
    """A gold answer as it is compared: in NFKC, and stripped; with compat 'llm_jp_eval_1_3' not stripped."""
    check_compat(compat)
    if compat:
        return unicodedata.normalize("NFKC", text)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _stripped(unicodedata.normalize("NFKC", text))


def parse_code(raw: str) -> str:
    """The program in a model's raw text: what the first fence (```) holds, else all before the next part of a prompt.

    Nothing is normalised, for that would change the program, and its blank lines stay.
    """
    text = raw.replace("\r\n", "\n")
    fenced = _FENCE.search(text)
    if fenced:
        return fenced.group(1)
    return _NEXT_PART.split(text, maxsplit=1)[0].strip("\n")


def _stripped(text: str) -> str:
    while True:
        shorter = text.strip().strip(_NOTHING)
        if shorter == text:
            return text
        text = shorter
