"""Wikipedia: from a dump and from a TFDS data set to the documents that LLM-jp's corpora began with."""

import bz2
import gzip
import subprocess
import sys
from pathlib import Path

import mwparserfromhell
import pytest

from llmjp_jax.corpus.readers import BrokenRecord, read_raw, reader_of
from llmjp_jax.corpus.readers import wikipedia_dump as module
from llmjp_jax.corpus.readers.wikipedia_dump import read_wikipedia_dump
from llmjp_jax.corpus.readers.wikitext import Wikitext
from llmjp_jax.errors import UserError

HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" version="0.10" xml:lang="{language}">
  <siteinfo>
    <sitename>Wikipedia</sitename>
    <dbname>{language}wiki</dbname>
    <base>https://{language}.wikipedia.org/wiki/Main_Page</base>
    <namespaces>
      <namespace key="-2" case="first-letter">Medium</namespace>
      <namespace key="0" case="first-letter" />
      <namespace key="6" case="first-letter">Bild zwei</namespace>
      <namespace key="14" case="first-letter">Kategorie</namespace>
    </namespaces>
  </siteinfo>
"""

JAPANESE = """{{Otheruses|国|他}}
{| class="infobox"
| 首都 || [[東京]]
|}
[[ファイル:Flag.svg|thumb|[[国旗]]の図]]
'''日本'''（にほん、{{lang-en|Japan}}）は、[[東アジア]]の[[国|国家]]である<ref name="a">{{Cite web|title=出典}}</ref>。<!-- 注 -->
__NOTOC__
== 地理 ==
* [[本州]]
* 面積は<math>x^2</math>&nbsp;km<sup>2</sup>
=== 山 ===
{{Main|富士山|{{仮リンク|山|en|Mt}}}}
'''''富士山'''''は[https://example.org/fuji 高い]山。
<gallery>
画像.jpg|説明
</gallery>
== 脚注 ==
{{脚注ヘルプ}}
{{Reflist}}
== 関連項目 ==
* [[アジア]]
[[Category:日本]]
[[カテゴリ:島国]]
"""

JAPANESE_TEXT = """日本（にほん、）は、東アジアの国家である。

地理
 本州
 面積は\xa0km2

山

富士山は高い山。

脚注

関連項目
 アジア"""

ENGLISH = """{{Short description|x}}'''Tea''' is a drink.<ref>a</ref>

[[File:Tea.jpg|right]][[Bild_zwei:Tea.jpg]] [[Medium:x.ogg]]It is hot.

==See also==
*[[Coffee]]

[[Kategorie:Drinks]]
"""


def page(number, title, text, namespace=0, redirect=False):
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    to = '    <redirect title="x" />\n' if redirect else ""
    return (
        f"  <page>\n    <title>{title}</title>\n    <ns>{namespace}</ns>\n    <id>{number}</id>\n{to}"
        f"    <revision>\n      <id>9{number}</id>\n      <contributor><username>u</username><id>7</id></contributor>\n"
        f'      <text bytes="1" xml:space="preserve">{escaped}</text>\n    </revision>\n  </page>\n'
    )


def dump(*pages, language="ja", end="</mediawiki>\n"):
    return (HEAD.format(language=language) + "".join(pages) + end).encode()


PAGES = [
    page(5, "日本", JAPANESE),
    page(6, "にほん", "#転送 [[日本]]", redirect=True),
    page(7, "ニホン", "#REDIRECT [[日本]]"),
    page(8, "ノート:日本", "話", namespace=1),
    page(9, "Template:国", "雛", namespace=10),
    page(10, "空", ""),
    page(11, "雛形だけ", "{{a}}"),
    page(12, "C&amp;A と /?", "企業。"),
]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "jawiki.xml"
    path.write_bytes(dump(*PAGES))
    return path


def documents(path, **options):
    found = list(read_wikipedia_dump(path, **options))
    assert not [record for _, record in found if isinstance(record, BrokenRecord)], found
    return found


def test_articles_become_documents(path):
    assert documents(path) == [
        (
            "page 1",
            {
                "text": JAPANESE_TEXT,
                "meta": {
                    "id": "5",
                    "url": "https://ja.wikipedia.org/wiki/%E6%97%A5%E6%9C%AC",
                    "title": "日本",
                    "language": "ja",
                },
            },
        ),
        (
            "page 8",
            {
                "text": "企業。",
                "meta": {
                    "id": "12",
                    "url": "https://ja.wikipedia.org/wiki/C%26A%20%E3%81%A8%20/%3F",
                    "title": "C&A と /?",
                    "language": "ja",
                },
            },
        ),
    ]


def test_an_english_article_and_the_namespaces_that_the_dump_names(tmp_path):
    path = tmp_path / "enwiki.xml"
    path.write_bytes(dump(page(1, "Tea", ENGLISH), language="en"))
    [(_, document)] = documents(path)
    assert document["text"] == "Tea is a drink.\n\n It is hot.\n\nSee also\nCoffee"
    assert document["meta"]["url"] == "https://en.wikipedia.org/wiki/Tea"


def test_the_language_may_be_given(path):
    assert documents(path, language="xx")[0][1]["meta"]["language"] == "xx"
    path.write_bytes(path.read_bytes().replace(b"<base>", b"<bass>"))
    with pytest.raises(UserError, match="does not say which Wikipedia"):
        list(read_wikipedia_dump(path))


@pytest.mark.parametrize(
    "name, compress",
    [
        ("w.xml.bz2", bz2.compress),
        ("w.xml.gz", gzip.compress),
        # multistream: a stream for the head, for each 100 pages, and for the end
        ("w-multistream.xml.bz2", lambda content: b"".join(bz2.compress(content[i : i + 999]) for i in range(0, len(content), 999))),
    ],
)  # fmt: skip
def test_compressed_dumps_are_the_same(path, tmp_path, name, compress):
    compressed = tmp_path / name
    compressed.write_bytes(compress(path.read_bytes()))
    assert reader_of(compressed) == "wikipedia_dump"
    read = []
    options = {"progress": read.append}
    assert list(read_raw(compressed, "wikipedia_dump", options)) == documents(path)
    assert sum(read) == compressed.stat().st_size


@pytest.mark.parametrize("parts", [2, 3, 20])
def test_parts_are_the_whole_each_page_once(tmp_path, parts):
    path = tmp_path / "w.xml"
    broken = page(6, "x", "文").replace("</text>", "</txt>")
    path.write_bytes(dump(PAGES[0], broken, *PAGES[1:], end=""))
    whole = [(position, str(record)) for position, record in read_wikipedia_dump(path)]
    found = [
        (position, str(record))
        for part in range(parts)
        for position, record in read_wikipedia_dump(path, part=part, parts=parts)
    ]
    assert len(whole) == 4 and sorted(found) == sorted(whole)


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_pages_across_blocks_are_whole(path, monkeypatch, size):
    whole = documents(path)
    monkeypatch.setattr(module, "_READ_BYTES", size)
    assert documents(path) == whole


@pytest.mark.parametrize(
    "broken, reason",
    [
        (page(6, "x", "文").encode().replace(b"</text>", b"</txt>"), "not XML in UTF-8"),
        (page(6, "x", "文").replace("文", "").encode("ascii").replace(b'preserve">', b'preserve">\x95\xb6'), "not XML in UTF-8"),
        (page(6, "x", "文").encode().replace(b"<id>6</id>", b""), "lacks its title"),
        (page(6, "x", "文").encode()[:200], "does not end before the next"),
    ],
    ids=["tag", "encoding", "id", "cut"],
)  # fmt: skip
def test_a_broken_page_costs_itself_alone(tmp_path, broken, reason):
    path = tmp_path / "w.xml"
    before, after = page(5, "前", "まえ").encode(), page(7, "後", "あと").encode()
    path.write_bytes(HEAD.format(language="ja").encode() + before + broken + after + b"</mediawiki>\n")  # fmt: skip
    first, second, third = read_wikipedia_dump(path)
    assert (first[0], second[0], third[0]) == ("page 1", "page 2", "page 3")
    assert first[1]["text"] == "まえ" and third[1]["text"] == "あと"
    assert isinstance(second[1], BrokenRecord) and f"{path}, page 2: " in str(second[1])
    assert reason in str(second[1])


def test_wikitext_beyond_the_parser_costs_its_page_alone(path, monkeypatch):
    def refuse(self, wikitext):
        if "日本" in wikitext:
            raise RecursionError("too deep")
        return wikitext

    monkeypatch.setattr(Wikitext, "__call__", refuse)
    (_, first), *_, (_, last) = read_wikipedia_dump(path)
    assert "日本 (id 5) has wikitext that cannot be parsed (too deep)" in str(first)
    assert last["text"] == "企業。"


def test_deeply_nested_wikitext_ends(tmp_path):
    path = tmp_path / "w.xml"
    deep = page(5, "深", "{{a|" * 200 + "[[" * 200 + "<div>" * 200 + "文")
    path.write_bytes(dump(deep, page(6, "後", "あと")))
    assert list(read_wikipedia_dump(path))[-1][1]["text"] == "あと"


def test_a_page_without_end_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_PAGE_BYTES", 100_000)
    monkeypatch.setattr(module, "_READ_BYTES", 10_000)
    path = tmp_path / "w.xml"
    path.write_bytes(dump(page(5, "長", "x" * 300_000), page(6, "後", "あと")))
    first, second = read_wikipedia_dump(path)
    assert "page 1: the page is longer than 100,000 bytes" in str(first[1])
    assert second[0] == "page 2" and second[1]["text"] == "あと"
    path.write_bytes(b"x" * 300_000)
    [(_, record)] = read_wikipedia_dump(path)
    assert "no MediaWiki dump" in str(record)


@pytest.mark.parametrize("compress", [bz2.compress, gzip.compress, bytes])
def test_a_dump_that_is_cut_off_says_so(tmp_path, compress):
    import random

    filler = "".join(random.Random(0).choices("あいうえおかきくけこ", k=6_000))
    name = {bz2.compress: "w.xml.bz2", gzip.compress: "w.xml.gz", bytes: "w.xml"}[compress]
    path = tmp_path / name
    content = compress(dump(*(page(n, f"記事{n}", filler) for n in range(20))))
    path.write_bytes(content[: len(content) * 2 // 3])
    *_, (position, record) = read_wikipedia_dump(path)
    assert isinstance(record, BrokenRecord) and record.position == position
    assert "ends too early" in str(record) or "ends inside of the page" in str(record)


def test_a_dump_that_ends_between_pages_says_so(tmp_path):
    path = tmp_path / "w.xml"
    path.write_bytes(dump(PAGES[0], end=""))
    first, second = read_wikipedia_dump(path)
    assert first[1]["text"] and "page 1: the dump ends after this page" in str(second[1])


@pytest.mark.parametrize(
    "name, content, reason",
    [
        ("w.xml", b"", "the file is empty"),
        ("w.xml", b"<html></html>", "no MediaWiki dump"),
        ("w.xml.bz2", b"", "the file is empty"),
        ("w.xml.bz2", b"no bzip2 at all", "damaged"),
        ("w.xml.gz", b"no gzip at all", "damaged"),
        ("w.xml.bz2", bz2.compress(dump(*PAGES))[:30] + b"\xff" * 300, "damaged"),
    ],
)
def test_what_is_no_dump_is_one_broken_record(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    [(_, record)] = read_wikipedia_dump(path)
    assert isinstance(record, BrokenRecord) and reason in str(record) and name in str(record)


SAMPLES = [
    "a '''b''' ''c'' [[d|e]] [[f]] &amp; {{t|[[x]]}} <b>g</b><br/>h <!-- i -->",
    "* one\n** two\n# three\n; term : meaning\n: indented",
    "[https://a.b label] [https://a.b] https://a.b {{{1|default}}} {{{2}}}",
    "<div>\n\n\na\n\n\n\nb</div>\n\n\n\nc <nowiki>[[x]]</nowiki> <math>y</math>",
    "-{zh}- ''unclosed [[also {{open",
]


@pytest.mark.parametrize("wikitext", SAMPLES)
def test_text_is_what_the_parsers_own_stripping_gives(wikitext):
    assert Wikitext()(wikitext) == mwparserfromhell.parse(wikitext).strip_code().strip()


def test_every_heading_is_a_line_by_itself():
    text = Wikitext()("前\n==脚注==\n{{Reflist}}\n==  外部リンク <!-- x --> ==\n* a")
    assert text.split("\n") == ["前", "", "脚注", "", "外部リンク", " a"]


def test_the_names_of_namespaces_may_be_written_in_many_ways():
    plain = Wikitext(media=["Bild zwei"])
    for link in ("[[ファイル:a|[[b]] c]]", "[[file:a]]", "[[ Image : a|b]]", "[[画像:a]]", "[[bild_zwei:a]]", "[[category:a]]"):  # fmt: skip
        assert plain(f"x{link}y") == "xy", link
    for link, text in {"[[:ファイル:a]]": ":ファイル:a", "[[Files: a|b]]": "b"}.items():
        assert plain(link) == text


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
    """A data set with the features of `wikipedia/20230601.ja`, in two files, prepared as TFDS does it."""
    import tensorflow_datasets as tfds

    with tfds.core.registered.skip_registration():

        class Wikipedia(tfds.core.GeneratorBasedBuilder):
            code_path = None  # a class of this file, which no later reader asks for
            VERSION = tfds.core.Version("1.0.0")
            BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("20230601.ja", "20230601.en")]  # fmt: skip

            def _info(self):
                text = tfds.features.Text()
                return self.dataset_info_from_configs(features=tfds.features.FeaturesDict({"title": text, "text": text}))  # fmt: skip

            def _split_generators(self, dl_manager):
                return {"train": self._generate_examples()}

            def _generate_examples(self):
                for n in range(50):
                    text = b"\x95\xb6" if n == 7 else f"文{n}".encode()
                    yield n, {"title": f"題 {n}", "text": text}

    folder = tmp_path_factory.mktemp("tfds")
    for name in ("20230601.ja", "20230601.en"):
        builder = Wikipedia(config=name, data_dir=folder)
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=2))
    return folder


def test_tfds_articles_become_documents_in_a_fixed_order(tfds_dir):
    found = list(read_raw(tfds_dir, "wikipedia_tfds", {"name": "wikipedia/20230601.ja"}))
    assert [position for position, _ in found] == [f"example {n}" for n in range(1, 51)]
    own = tfds_dir / "wikipedia" / "20230601.ja" / "1.0.0"
    files = [list(read_raw(own, "wikipedia_tfds", {"split": part})) for part in ("train[:1shard]", "train[1shard:]")]  # fmt: skip
    assert all(files)
    assert [r for _, r in found if isinstance(r, dict)] == [r for file in files for _, r in file if isinstance(r, dict)]  # fmt: skip
    good = [record for _, record in found if not isinstance(record, BrokenRecord)]
    assert {record["text"] for record in good} == {f"文{n}" for n in range(50) if n != 7}
    number = good[0]["meta"]["title"].split()[1]
    assert good[0] == {
        "text": f"文{number}",
        "meta": {
            "url": f"https://ja.wikipedia.org/wiki/%E9%A1%8C%20{number}",
            "title": f"題 {number}",
            "language": "ja",
        },
    }
    [broken] = [record for _, record in found if isinstance(record, BrokenRecord)]
    assert "a text is not UTF-8" in str(broken)


def test_a_tfds_data_set_must_be_there_and_be_one(tfds_dir, tmp_path):
    with pytest.raises(UserError, match="no TFDS data set in .*; prepare it with `tfds build"):
        list(read_raw(tmp_path, "wikipedia_tfds"))
    with pytest.raises(UserError, match="several data sets; give the name of one of: .*20230601.en"):  # fmt: skip
        list(read_raw(tfds_dir, "wikipedia_tfds"))
    options = {"name": "wikipedia/20230601.ja", "split": "test"}
    with pytest.raises(UserError, match="has no split test"):
        list(read_raw(tfds_dir, "wikipedia_tfds", options))


def test_a_damaged_tfds_file_ends_with_a_broken_record(tfds_dir, tmp_path):
    import shutil

    folder = tmp_path / "wikipedia" / "20230601.ja" / "1.0.0"
    shutil.copytree(tfds_dir / "wikipedia" / "20230601.ja" / "1.0.0", folder)
    second = sorted(folder.glob("*.tfrecord*"))[1]
    second.write_bytes(second.read_bytes()[:-3])
    found = list(read_raw(tmp_path, "wikipedia_tfds"))
    position, record = found[-1]
    assert isinstance(record, BrokenRecord) and record.position == position == f"example {len(found)}"  # fmt: skip
    assert 25 < len(found) < 52 and "cannot be read" in str(record)


def test_the_dump_reader_needs_no_tensorflow():
    program = (
        "import sys, llmjp_jax.corpus.readers.wikipedia_dump, llmjp_jax.corpus.readers.wikipedia_tfds; "
        "assert not {'tensorflow', 'tensorflow_datasets'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3])
