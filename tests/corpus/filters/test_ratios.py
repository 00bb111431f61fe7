"""Each measure of the whole document, just inside and just outside its limits."""

import math
import random

import pytest

from llmjp_jax.corpus.filters import ratios


def document(*paragraphs, **more) -> dict:
    return {"text": "", "meta": {}, "paragraphs": [dict({"path": "body>p"}, **one) for one in paragraphs], **more}  # fmt: skip


def plain(text: str) -> dict:
    return {"text": text, "meta": {}}


def test_doc_length_includes_both_limits_and_counts_characters_of_kept_paragraphs():
    lengths = range(48, 53)
    assert [ratios.doc_length(plain("𠮷" * n), low=50, high=51) for n in lengths] == [
        False, False, True, True, False,
    ]  # fmt: skip
    one = document({"text": "あ" * 49}, {"text": "い", "removed": "x"})
    assert not ratios.doc_length(one, low=50)
    assert ratios.doc_length(document({"text": "あ" * 49}, {"text": "い"}), low=50)
    assert ratios.doc_length(plain(""))


def test_hiragana_ratio_counts_u3040_to_u309f():
    assert ratios.hiragana_ratio(plain("漢" * 9 + "あ"), low=0.1, high=2.0)
    assert not ratios.hiragana_ratio(plain("漢" * 10 + "あ"), low=0.1, high=2.0)
    for inside, outside in (("\u3040", "\u303f"), ("\u309f", "\u30a0"), ("ゞ", "ー"), ("ん", "ア")):
        assert ratios.hiragana_ratio(plain(inside), low=1.0)
        assert ratios.hiragana_ratio(plain(outside), high=0.0)
    assert not ratios.hiragana_ratio(plain(""), low=0.1)
    assert not ratios.hiragana_ratio(plain("ああ漢"), low=0.0, high=0.5)


def test_link_char_ratio_is_of_kept_paragraphs():
    page = document(
        {"text": "0123456789", "link_chars": 4}, {"text": "abcdefghij", "link_chars": 4}
    )
    assert ratios.link_char_ratio(page, high=0.4)
    page["paragraphs"][0]["link_chars"] = 5
    assert not ratios.link_char_ratio(page, high=0.4)
    page["paragraphs"][0]["removed"] = "x"
    assert ratios.link_char_ratio(page, high=0.4)
    assert ratios.link_char_ratio(plain("no paragraphs"), high=0.0)
    assert ratios.link_char_ratio(document(), high=0.4)
    assert ratios.link_char_ratio(document({"text": "no key"}), high=0.0)


def test_compression_is_low_for_repetition_and_high_for_noise():
    noise = "".join(chr(random.Random(1).randrange(0x4E00, 0x9FFF)) for _ in range(1))
    noise = "".join(map(chr, random.Random(1).choices(range(0x4E00, 0x9FFF), k=3000)))
    assert ratios.lz4_rate("同じ文です。" * 100) < 0.05
    assert 0.95 < ratios.lz4_rate(noise) < 1.02
    assert not ratios.compression_rate(plain("同じ文です。" * 100), low=0.25, high=5.0)
    assert not ratios.compression_rate(plain(noise), low=0.4, high=0.75)
    exact = ratios.lz4_rate(noise)
    assert ratios.compression_rate(plain(noise), low=exact, high=exact)


def test_compression_is_of_the_block_format_without_a_stored_size():
    # One literal token: a byte for its length, then the bytes.
    assert ratios.lz4_rate("abc") == pytest.approx(4 / 3)
    assert ratios.lz4_rate("") == math.inf
    assert not ratios.compression_rate(plain(""), low=0.25, high=5.0)


def test_compression_reads_paragraphs_without_breaks_and_one_mebibyte_in_whole_characters():
    halves = document({"text": "同じ文です。" * 50}, {"text": "同じ文です。" * 50})
    whole = ratios.lz4_rate("同じ文です。" * 100)
    assert ratios.compression_rate(halves, low=whole, high=whole)
    noise = "".join(map(chr, random.Random(1).choices(range(0x4E00, 0x9FFF), k=(1 << 20) // 3)))
    assert ratios.lz4_rate(noise) == ratios.lz4_rate(noise + "同じ文です。" * 10_000)
