"""Uzushio's ladder of 24 rungs from HTML to text: each page that is made for a rung is dropped by that rung."""

import random

import pytest

pytest.importorskip("resiliparse")
pytest.importorskip("kenlm")
pytest.importorskip("sudachipy")

from llmjp_jax.corpus.filters import FILTERS, MAPS
from llmjp_jax.corpus.filters.frequency import document_random
from llmjp_jax.corpus.filters.paragraphs import document_text
from llmjp_jax.corpus.filters.perplexity import _words
from llmjp_jax.corpus.filters.ratios import lz4_rate
from llmjp_jax.corpus.readers.html import html_paragraphs

EVERYDAY = (
    "朝 学校 友だち 駅 電車 雨 傘 本屋 弁当 先生 教室 窓 手紙 写真 台所 夕食 音楽 散歩 公園 自転車 "
    "わたしは きのう ゆっくり たのしく あるいた よみました それから とても いっしょに おもいだした"
).split()
# Other words for pages that a language model finds too easy.
EASY = (
    "銀河 惑星 太陽 月面 彗星 軌道 重力 望遠鏡 隕石 宇宙 気圧 磁場 衛星 火星 木星 土星 "
    "まわりを しずかに めぐって いるが やがて おちて くるので ひかって みえるが"
).split()
EASIER = (
    "林檎 蜜柑 葡萄 西瓜 苺 桃 梨 柿 栗 胡桃 大根 人参 玉葱 茄子 胡瓜 南瓜 "
    "あまくて おいしい ものを たくさん かごに いれたら おもくて もてない"
).split()
UNKNOWN = "龘 靐 齉 爩 鱻 麤 龗 灪 厵 滟 爨 癵 籱 饢 驫 鲡 鹂 鸾 彠 虋".split()
RARE = "煎餅 饅頭 団子 最中 羊羹 落雁 金平糖 甘納豆".split()
LISTED = ["禁" + sign + "と" for sign in "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉"]


def sentences(words: list[str], characters: int, seed: object) -> str:
    choice, text = random.Random(str(seed)), ""
    while len(text) < characters:
        text += "".join(choice.choices(words, k=6)) + "。"
    return text


def html(*blocks: str) -> str:
    return "<html><body>" + "\n".join(blocks) + "</body></html>"


def paragraphs(
    count: int, seed: object, words: list[str] = EVERYDAY, characters: int = 60
) -> list[str]:
    return [f"<p>{sentences(words, characters, f'{seed} {place}')}</p>" for place in range(count)]


def repetitive(low: float, high: float) -> str:
    """A page whose LZ4 rate is in [low, high): as many copies of a sentence after it as that takes."""
    blocks, copy = paragraphs(4, "rate"), "<p>おなじ文をなんどもくりかえす。</p>"
    while lz4_rate("".join(one["text"] for one in html_paragraphs(html(*blocks)))) >= high:
        blocks.append(copy)
    assert lz4_rate("".join(one["text"] for one in html_paragraphs(html(*blocks)))) >= low
    return html(*blocks)


def kanji(share_of_hiragana: float) -> str:
    words = [word for word in EVERYDAY + EASY if all(ord(one) > 0x30FF for one in word)]
    text = sentences(words, 600, "kanji")
    hiragana = "".join(random.Random(2).choices("あいうえおかきくけこさしすせそたちつてと", k=400))
    count = int(share_of_hiragana * len(text) / (1 - share_of_hiragana))
    return html(f"<p>{text}</p>", f"<p>{hiragana[:count]}</p>")


def linked(share: float) -> str:
    text = sentences(EVERYDAY, 600, "links")
    cut = int(share * len(text))
    return html(f"<p><a href='x'>{text[:cut]}</a>{text[cut:]}</p>")


@pytest.fixture(scope="module")
def lists(tmp_path_factory) -> dict[str, str]:
    """Word lists whose words are no part of the pages' other words."""
    folder = tmp_path_factory.mktemp("lists")
    names = {"adult": "甲乙丙丁戊己庚辛壬癸", "discrimination": "子丑寅卯辰巳午未申酉"}
    for name, signs in names.items():
        (folder / name).write_text("".join(f"禁{sign}\n" for sign in signs), encoding="utf-8")
    return {name: str(folder / name) for name in names}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    """A model that knows the words of the pages, as Sudachi cuts them, and no others."""
    logs: dict[str, float] = {}
    for words, log in (
        (EVERYDAY, -2.5),
        (LISTED, -2.5),
        (RARE, -6.6),
        (EASY, -0.55),
        (EASIER, -0.78),
    ):
        logs |= dict.fromkeys(_words(sentences(words, 6000, "model")), log)
    logs["。"] = -0.6
    lines = "".join(f"{log}\t{word}\n" for word, log in logs.items())
    path = tmp_path_factory.mktemp("kenlm") / "ladder.arpa"
    path.write_text(
        f"\\data\\\nngram 1={len(logs) + 3}\nngram 2=1\n\n"
        f"\\1-grams:\n-99\t<s>\t0\n-0.6\t</s>\n-9\t<unk>\n{lines}\n\\2-grams:\n-2\t<s> </s>\n\n\\end\\\n",
        encoding="utf-8",
    )
    return str(path)


@pytest.fixture(scope="module")
def ladder(lists, model) -> list[tuple[str, dict]]:
    kenlm = {"model": model, "outliers": 0.1}
    return [
        ("doc_length", {"low": 50}),
        ("deduplicate_documents_percentile", {"expected": 5, "percentile": 0.05}),
        ("hiragana_ratio", {"low": 0.1, "high": 2.0}),
        ("hiragana_ratio", {"low": 0.15, "high": 2.0}),
        ("link_char_ratio", {"low": 0, "high": 0.8}),
        ("link_char_ratio", {"low": 0, "high": 0.4}),
        ("merge_list_tag", {}),
        ("markdownize_heading", {}),
        ("no_content_dom", {}),
        ("large_freq_paragraphs", {"count": 3, "freq": 1000}),
        ("large_freq_paragraphs", {"count": 3, "freq": 100}),
        ("kenlm_paragraph_perplexity", {**kenlm, "count": 3, "threshold": 1e6}),
        ("kenlm_paragraph_perplexity", {**kenlm, "count": 2, "threshold": 5e6}),
        ("compression_rate", {"low": 0.25, "high": 5.0}),
        ("compression_rate", {"low": 0.40, "high": 0.75}),
        ("compression_rate", {"low": 0.50, "high": 0.75}),
        ("kenlm_doc_avg_perplexity", {**kenlm, "high": 1e6, "low": 5}),
        ("kenlm_doc_avg_perplexity", {**kenlm, "high": 5e5, "low": 7}),
        ("word_types", {"word_list": lists["adult"], "threshold": 9, "kind": "uniq"}),
        ("word_types", {"word_list": lists["adult"], "threshold": 6, "kind": "uniq"}),
        ("word_types", {"word_list": lists["discrimination"], "threshold": 9, "kind": "uniq"}),
        ("doc_length", {"low": 200}),
        ("deduplicate_documents_percentile", {"expected": 2.5, "percentile": 0.05}),
        ("deduplicate_documents_percentile", {"expected": 1.5, "percentile": 0.1}),
    ]


def document(page: str, near_freq: int = 1, identifier: str = "page") -> dict:
    found = html_paragraphs(page)
    for paragraph in found:
        paragraph.update(near_freq=near_freq, exact_freq=1)
    return {"text": "", "meta": {"docId": identifier}, "paragraphs": found}


def climb(ladder, one: dict) -> tuple[dict, int | None]:
    """(the document after the ladder, number of the rung that dropped it or None)."""
    for number, (name, parameters) in enumerate(ladder, 1):
        if name in MAPS:
            one = MAPS[name](one, **parameters)
        elif not FILTERS[name](one, **parameters):
            return one, number
    return one, None


def identifier_near(number: float) -> str:
    """An id whose random number is within 0.01 of `number`."""
    names = (f"id {place}" for place in range(10_000))
    return next(
        one
        for one in names
        if abs(document_random({"meta": {"docId": one}, "text": ""}) - number) < 0.01
    )


GOOD = html("<h1>見出し</h1>", *paragraphs(4, "good"))


def words_of(signs: str) -> str:
    listed = "と".join("禁" + sign for sign in signs)
    return html(*paragraphs(2, "words"), f"<p>{listed}</p>", *paragraphs(2, "more words"))


def unknown(characters: int) -> dict:
    """A page in whose middle stands a paragraph without a known word."""
    middle = f"<p>{sentences(UNKNOWN, characters, 2)}</p>"
    return document(html(*paragraphs(3, 1), middle, *paragraphs(3, 3)))


# rung -> documents that it, and no rung before it, drops.
PAGES = {
    None: lambda: [document(GOOD), document(GOOD, 99, identifier_near(0.01)), document(words_of("甲乙丙丁戊子丑寅卯辰巳午未"))],
    1: lambda: [document(html("<p>" + "あ" * 49 + "</p>")), document(html())],
    2: lambda: [document(GOOD, 10**6)],
    3: lambda: [document(kanji(0.07))],
    4: lambda: [document(kanji(0.13))],
    5: lambda: [document(linked(0.9))],
    6: lambda: [document(linked(0.6))],
    14: lambda: [document(repetitive(0.1, 0.25))],
    15: lambda: [document(repetitive(0.3, 0.39)), document(html("<p>" + "".join(EVERYDAY + EASY + EASIER) + "</p>"))],
    16: lambda: [document(repetitive(0.42, 0.49))],
    17: lambda: [document(html(*paragraphs(4, "easy", EASY))),
                 unknown(250)],
    18: lambda: [document(html(*paragraphs(4, "easier", EASIER))), unknown(70)],
    19: lambda: [document(words_of("甲乙丙丁戊己庚辛壬"))],
    20: lambda: [document(words_of("甲乙丙丁戊己")), document(words_of("甲乙丙丁戊己庚辛"))],
    21: lambda: [document(words_of("子丑寅卯辰巳午未申"))],
    22: lambda: [document(html("<nav>", *paragraphs(3, "nav"), "</nav>", f"<p>{sentences(EVERYDAY, 130, 5)}</p>"))],
    23: lambda: [document(GOOD, 7, identifier_near(0.5))],
    24: lambda: [document(GOOD, 4, identifier_near(0.5))],
}  # fmt: skip


@pytest.mark.parametrize("rung", PAGES)
def test_a_page_made_for_a_rung_is_dropped_by_that_rung(ladder, rung):
    assert [climb(ladder, one)[1] for one in PAGES[rung]()] == [rung] * len(PAGES[rung]())


def test_the_ladder_has_a_page_for_each_of_its_filters(ladder):
    filters = {number for number, (name, _) in enumerate(ladder, 1) if name in FILTERS}
    assert len(ladder) == 24 and set(PAGES) == filters | {None}


def test_maps_leave_the_text_as_it_should_be_and_the_reasons_of_what_is_gone(ladder):
    good, frequent = paragraphs(9, "maps", characters=20), paragraphs(3, "frequent")
    page = html(
        "<header><p>駅前の写真</p></header>", "<h2>手紙</h2>", *good[:2],
        "<ul><li><p>電車</p><li><p>自転車</p></ul>", *good[2:4],
        *frequent, *good[4:6],
        *(f"<p>{''.join(random.Random(n).choices(RARE, k=20))}</p>" for n in range(3)), *good[6:7],
        *(f"<p>{''.join(random.Random(n).choices(UNKNOWN, k=20))}</p>" for n in range(2)), *good[7:],
        "<div id='footerMenu'>弁当</div>",
    )  # fmt: skip
    one = document(page)
    for paragraph in one["paragraphs"]:
        if f"<p>{paragraph['text']}</p>" in frequent:
            paragraph["near_freq"] = 100
    kept = [block.removeprefix("<p>").removesuffix("</p>") for block in good]
    one, rung = climb(ladder, one)
    assert rung is None
    assert document_text(one).split("\n") == ["## 手紙", *kept[:2], "- 電車", "- 自転車", *kept[2:]]
    reasons = [paragraph["removed"] for paragraph in one["paragraphs"] if "removed" in paragraph]
    assert reasons == [
        "no_content_dom", *["large_freq_paragraphs"] * 3, *["kenlm_paragraph_perplexity"] * 5, "no_content_dom",
    ]  # fmt: skip
