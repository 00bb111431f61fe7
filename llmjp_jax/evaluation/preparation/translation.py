"""Translation: alt and wikicorpus, both ways, from raw files to samples.

Sources: llm-jp-eval v1.3.0, datasets/{alt,wikicorpus}.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from llmjp_jax.errors import UserError
from llmjp_jax.evaluation.preparation.raw_files import text_lines
from llmjp_jax.evaluation.preparation.raw_folders import find_below
from llmjp_jax.evaluation.preparation.splitting import Splits, cut_80_10_10, shuffled
from llmjp_jax.evaluation.preparation.xml_elements import Element, read_xml
from llmjp_jax.evaluation.task_files import Sample

MAX_CHARACTERS = 500  # of both sides together; a pair must have fewer

Pair = tuple[str, str]  # Japanese, English


def prepare_alt_j_to_e(raw: Path) -> Splits:
    """ALT, Japanese to English; see `_alt`."""
    return _alt(raw, to_english=True)


def prepare_alt_e_to_j(raw: Path) -> Splits:
    """ALT, English to Japanese; see `_alt`."""
    return _alt(raw, to_english=False)


def prepare_wikicorpus_j_to_e(raw: Path) -> Splits:
    """The Kyoto corpus, Japanese to English; see `_kyoto`."""
    return _kyoto(raw, to_english=True)


def prepare_wikicorpus_e_to_j(raw: Path) -> Splits:
    """The Kyoto corpus, English to Japanese; see `_kyoto`."""
    return _kyoto(raw, to_english=False)


def _alt(raw: Path, *, to_english: bool) -> Splits:
    """ALT's own splits: articles in the order of URL-*.txt, sentences in that of the English file, nothing shuffled.

    Raises:
      UserError: a file is missing, is not UTF-8, or a line of it is not in ALT's form.
    """
    folders = find_below(raw, "data_en.txt")
    if len(folders) != 1:
        raise UserError(f"{raw} has {len(folders)} folders with data_en.txt where one is wanted; unpack ALT-Parallel-Corpus-20191206.zip there")  # fmt: skip
    english = _sentences(folders[0] / "data_en.txt")
    japanese = _sentences(folders[0] / "data_ja.txt")
    splits = []
    for split in ("train", "dev", "test"):
        pairs = [
            (japanese[article][number], text)
            for article in _articles(raw / f"URL-{split}.txt")
            for number, text in english.get(article, {}).items()
            if number in japanese.get(article, {})
        ]
        splits.append(_samples(filter(_short, pairs), to_english))
    return Splits(*splits)


def _sentences(path: Path) -> dict[str, dict[str, str]]:
    """Sentences by article and number, in the file's order. Lines without TAB hold nothing."""
    found: dict[str, dict[str, str]] = {}
    for number, line in text_lines(path):
        name, tab, text = line.partition("\t")
        if not tab:
            continue
        parts = name.split(".")
        if len(parts) != 3 or parts[0] != "SNT":
            raise UserError(f"{path}, line {number}: {name!r} must be SNT.<article>.<sentence>")
        found.setdefault(parts[1], {})[parts[2]] = text.strip()
    return found


def _articles(path: Path) -> list[str]:
    found = []
    for number, line in text_lines(path):
        if not line.strip():
            continue
        name = line.split("\t")[0].strip()
        start, dot, article = name.partition(".")
        if start != "URL" or not dot or not article:
            raise UserError(f"{path}, line {number}: {name!r} must be URL.<article>")
        found.append(article)
    return found


def _kyoto(raw: Path, *, to_english: bool) -> Splits:
    """The Kyoto corpus: a pair for each paragraph; documents shuffled and split 80/10/10, then opened.

    Before they are shuffled, documents are sorted by path: llm-jp-eval takes them as the file system lists them, so that its own
    order is not the same everywhere. An empty paragraph is a pair too, as there.

    Raises:
      UserError: as `read_xml`; there is no document.
    """
    from tqdm import tqdm

    paths = sorted(path for path in raw.rglob("*.xml") if not path.name.startswith("."))
    if not paths:
        raise UserError(f"there is no .xml below {raw}; fetch the corpus again")
    bar = tqdm(paths, desc="wikicorpus", unit=" documents", leave=False, mininterval=0.5)
    documents = [_paragraphs(read_xml(path, _with_plain_ampersands)) for path in bar]
    return Splits(
        *(
            _samples((pair for document in part for pair in document), to_english)
            for part in cut_80_10_10(shuffled(documents))
        )
    )


def _with_plain_ampersands(text: str) -> str:
    return text.replace("&", "&amp;")


def _paragraphs(document: Element) -> list[Pair]:
    pairs = []
    for paragraph in document.below("par"):
        japanese, english = [], []
        for sentence in paragraph.below("sen"):
            ja = next((e.text for e in sentence.all("j")), "")
            checks = (e.text for e in sentence.all("e") if e.attributes.get("type") == "check")
            en = next(checks, "")
            if ja and en:
                japanese.append(ja)
                english.append(en)
        pair = (" ".join(japanese), " ".join(english))
        if _short(pair):
            pairs.append(pair)
    return pairs


def _short(pair: Pair) -> bool:
    return sum(map(len, pair)) < MAX_CHARACTERS


def _samples(pairs: Iterable[Pair], to_english: bool) -> list[Sample]:
    return [Sample(ja, en) if to_english else Sample(en, ja) for ja, en in pairs]
