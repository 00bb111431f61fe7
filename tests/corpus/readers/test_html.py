"""HTML to paragraphs: what is a paragraph, its path, its link characters; and pages that are not as they should be."""

import time

import pytest

pytest.importorskip("resiliparse")

from llmjp_jax.corpus.readers.html import MAX_PATH, html_paragraphs


def paths_and_texts(page, **options) -> list[tuple[str, str]]:
    return [(one["path"], one["text"]) for one in html_paragraphs(page, **options)]


def test_text_around_a_nested_block_keeps_the_path_of_its_own_block():
    page = """<!doctype html><html lang="ja"><body><div class="container">
      こんにちは
      <div id="12345"> 早稲田大学で <div>自然言語処理</div> を </div>
      勉強する。
      <p>終わり</p> また </div>"""
    assert paths_and_texts(page) == [
        ("body>div.container", "こんにちは"),
        ("body>div.container>div#12345", "早稲田大学で"),
        ("body>div.container>div#12345>div", "自然言語処理"),
        ("body>div.container>div#12345", "を"),
        ("body>div.container", "勉強する。"),
        ("body>div.container>p", "終わり"),
        ("body>div.container", "また"),
    ]


def test_a_path_has_classes_then_the_id_and_the_inline_elements_between_blocks():
    page = '<body class=" home  page " id=top><span class=s><div class="a b" id=c><i>x</i></div></span>'
    assert paths_and_texts(page) == [("body.home.page#top>span.s>div.a.b#c", "x")]


def test_signs_of_the_path_in_a_class_or_id_do_not_break_it():
    page = '<div class="[&>p]:mt-1 a&amp;b" id="x y>z"><p>t</p></div>'
    assert paths_and_texts(page) == [("body>div.[&_p]:mt-1.a&b#x_y_z>p", "t")]


def test_list_items_are_lines_and_a_list_in_a_list_is_a_paragraph_of_its_own():
    page = "<ul><li>one<li>two <b>bold</b><ul><li>two a<li>two b</ul>more<li>three</ul>"
    assert paths_and_texts(page) == [
        ("body>ul", "one\ntwo bold"),
        ("body>ul>li>ul", "two a\ntwo b"),
        ("body>ul", "more\nthree"),
    ]


def test_rows_of_a_table_are_lines_and_cells_have_a_blank_between_them():
    page = "<table><caption>C</caption><tr><th>a</th><td>b</td></tr><tr><td>c<td><p>d</p></table>"
    assert paths_and_texts(page) == [
        ("body>table>caption", "C"),
        ("body>table", "a b\nc"),
        ("body>table>tbody>tr>td>p", "d"),
    ]


def test_br_is_a_line_break_and_blanks_collapse_in_pre_too():
    page = "<p>a<br>b <br/> <br>\n c\xa0\t d</p><pre>\n  x\n\n\n   y   z\n</pre>"
    # In a paragraph a line break of the source is one too, as in Uzushio.
    assert [text for _, text in paths_and_texts(page)] == ["a\nb\nc d", "x\ny z"]


def test_characters_in_links_are_counted_without_the_blanks_at_their_edges():
    (paragraph,) = html_paragraphs("<p>前 <a href=x> リンク </a>後<a>二<br>つ目</a><a> </a></p>")
    assert paragraph["text"] == "前 リンク 後二 つ目"
    assert paragraph["link_chars"] == len("リンク") + len("二 つ目")


def test_a_link_around_blocks_counts_in_each_of_them():
    page = "<a href=x><div>見出し</div><div>本文</div></a><p>外</p>"
    assert [(p["text"], p["link_chars"]) for p in html_paragraphs(page)] == [
        ("見出し", 3),
        ("本文", 2),
        ("外", 0),
    ]


def test_the_marks_that_stand_for_links_inside_are_no_links_in_a_page():
    (paragraph,) = html_paragraphs("<p>a\x02bc\x03d</p>")
    assert (paragraph["text"], paragraph["link_chars"]) == ("abcd", 0)


@pytest.mark.parametrize(
    "page",
    [
        '<p>前</p><script>var a = "</p><p>隠</p>";</script><p>後</p>',
        "<p>前</p><script><!--<script>隠</script>隠--></script><p>後</p>",
        "<p>前</p><style>p:after { content: '隠' }</style><p>後</p>",
        "<p>前</p><template><p>隠</p></template><!-- <p>隠</p> --><p>後</p>",
        "<p>前</p><iframe><p>隠</p></iframe><noembed>隠</noembed><p>後</p>",
        "<head><title>隠</title><script>隠</script></head><p>前</p><p>後</p>",
        "<p>前</p><svg><style>隠</style><script>隠</script></svg><p>後</p>",
        "<p>前</p><?php 隠 ?><p>後</p>",
    ],
)
def test_what_a_reader_of_the_page_does_not_see_is_no_text(page):
    assert [text for _, text in paths_and_texts(page)] == ["前", "後"]


def test_noscript_textarea_and_options_are_paragraphs_as_in_uzushio():
    page = "<body><noscript><p>n</p></noscript><textarea><b>t</b></textarea><select><option>1<option>2</select>"
    assert paths_and_texts(page) == [
        ("body>noscript>p", "n"),
        ("body>textarea", "<b>t</b>"),
        ("body>select>option", "1"),
        ("body>select>option", "2"),
    ]


def test_tags_in_xmp_and_plaintext_are_text():
    assert paths_and_texts("<xmp><b>q</b></xmp>z<plaintext>r</p>") == [
        ("body>xmp", "<b>q</b>"),
        ("body", "zr</p>"),
    ]


def test_entities_are_decoded_once():
    page = "<p title='>\"'>a&lt;b&gt; &amp;amp;nbsp; &quot;&#x3042;&#12356;&hellip;&nbsp;&yen &unknown; 5 < 6 > 4</p>"
    assert paths_and_texts(page) == [("body>p", 'a<b> &amp;nbsp; "あい… ¥ &unknown; 5 < 6 > 4')]


def test_tags_that_are_not_closed_or_never_opened_end_as_the_html_standard_says():
    page = "<p>a<p>b<div>c</p>d<b>e<i>f</b>g</div></span></table>h"
    # `</p>` without a paragraph opens an empty one.
    assert paths_and_texts(page) == [
        ("body>p", "a"),
        ("body>p", "b"),
        ("body>div", "c"),
        ("body>div", "defg"),
        ("body", "h"),
    ]


@pytest.mark.parametrize(
    "page",
    ["", b"", "<html></html>", "<body>", "<body> \n\u3000&nbsp;</body>", "<frameset><frame></frameset>",
     "<div><a href=x><img src=y></a></div><p>&nbsp;</p>"],
)  # fmt: skip
def test_a_page_without_text_has_no_paragraphs(page):
    assert html_paragraphs(page) == []


@pytest.mark.parametrize("encoding", ["utf-8", "cp932", "euc_jp", "iso2022_jp", "utf-16"])
def test_bytes_are_read_in_the_encoding_that_is_given(encoding):
    page = "<p>日本語の文章、ソ・表・能。</p>".encode(encoding)
    assert paths_and_texts(page, encoding=encoding) == [("body>p", "日本語の文章、ソ・表・能。")]


def test_wrong_bytes_and_halves_of_surrogate_pairs_become_one_sign():
    assert paths_and_texts(b"<p>a\xffb</p>") == [("body>p", "a\ufffdb")]
    assert paths_and_texts("<p>a\ud800b</p>") == [("body>p", "a?b")]
    assert paths_and_texts(b"\xef\xbb\xbf<p>a</p>") == [("body>p", "a")]


def test_ten_thousand_nested_divs_are_read_and_their_paths_stay_short():
    started = time.perf_counter()
    paragraphs = html_paragraphs("<body>" + "<div>文" * 10_000)
    assert [one["text"] for one in paragraphs] == ["文"] * 10_000
    assert max(one["path"].count(">") for one in paragraphs) == MAX_PATH - 1
    assert paragraphs[2]["path"] == "body>div>div>div"
    assert time.perf_counter() - started < 20  # it takes 0.1 s; a quadratic walk takes minutes


def test_a_page_of_five_megabytes_keeps_all_its_paragraphs():
    text = "長い本文が続く。" * 20
    block = f"<div class=entry><h2>見出し</h2><p>{text}<a href=x>ここ</a></p></div>\n"
    count = 5_000_000 // len(block.encode()) + 1
    paragraphs = html_paragraphs(f"<body>{block * count}".encode())
    assert len(paragraphs) == 2 * count
    assert paragraphs[-1] == {"path": "body>div.entry>p", "text": text + "ここ", "link_chars": 2}
