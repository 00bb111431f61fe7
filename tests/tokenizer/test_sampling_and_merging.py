"""Samples of exact size, words, symbols, prefixes, merging: each step of the procedure on small input."""

import random

import pytest

from llmjp_jax.corpus import write_documents
from llmjp_jax.errors import UserError
from llmjp_jax.tokenizer.candidates import count_words, frequent_substrings
from llmjp_jax.tokenizer.merging import PREFIXES, merge, merge_to_size
from llmjp_jax.tokenizer.sampling import is_japanese, sample, texts_of, write_sample
from llmjp_jax.tokenizer.segmentation import japanese_words, split_symbols
from llmjp_jax.tokenizer.unigram import keep_best


def texts(count: int, prefix: str = "日"):
    choose = random.Random(prefix)
    made = [f"{prefix}{number:05}" + "x" * choose.randrange(40) for number in range(count)]
    return lambda purpose: iter(made)


def test_a_sample_is_full_to_the_byte_random_and_the_same_again():
    made = texts(5000)
    size = 30_000
    found = list(sample(made, size, seed="0/ja"))
    assert size - 4 < sum(map(len, found)) <= size
    assert found == list(sample(made, size, seed="0/ja"))
    other = list(sample(made, size, seed="1/ja"))
    assert len(set(found) & set(other)) < len(found) / 2
    places = [int(text.decode()[1:6]) for text in found]
    assert 1800 < sum(places) / len(places) < 3200  # from everywhere
    assert len(set(found)) == len(found)


def test_a_text_does_not_come_or_go_with_the_size():
    small = {text for text in sample(texts(5000), 20_000, seed="0")}
    large = {text for text in sample(texts(5000), 40_000, seed="0")}
    assert len(small - large) <= 1  # the one that was cut


def test_a_small_source_is_taken_whole_in_its_order_and_a_character_is_not_torn():
    made = texts(50)
    assert [text.decode() for text in sample(made, 10**9, seed="0")] == list(made(""))
    (cut,) = sample(lambda purpose: iter(["日本語"]), 7, seed="0")
    assert cut.decode() == "日本"
    assert list(sample(lambda purpose: iter(["日本語"]), 0, seed="0")) == []


def test_several_sources_are_sampled_each_by_its_bytes(tmp_path):
    for name in ("a", "b"):
        documents = ({"text": text, "meta": {}} for text in texts(2000, name)(""))
        write_documents(tmp_path / f"{name}.jsonl", documents)
    sources = [(name, texts_of([tmp_path / f"{name}.jsonl"]), size) for name, size in (("a", 9000), ("b", 3000))]  # fmt: skip
    written = write_sample(sources, tmp_path / "sample.txt", seed=0)
    lines = (tmp_path / "sample.txt").read_text().splitlines()
    assert written == 12_000
    assert sum(len(line) for line in lines if line[0] == "a") == 9000
    assert sum(len(line) for line in lines if line[0] == "b") == 3000


def test_a_lone_surrogate_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "ok"}\n{"text": "\\ud83d"}\n')
    with pytest.raises(UserError, match=r"a\.jsonl, line 2"):
        list(texts_of([tmp_path / "a.jsonl"])("reading"))


def test_scripts_are_told_apart():
    assert is_japanese("東京へ行く") and is_japanese("Windows のインストール方法について")
    assert not is_japanese("Tokyo (東京) is the capital of Japan and its largest city, by far.")
    assert not is_japanese("def f(x):\n    return x  # の\n" * 5)
    assert not is_japanese("人工智能") and not is_japanese("")


def test_japanese_is_cut_into_words_and_sentences():
    pytest.importorskip("fugashi")
    lines = list(japanese_words("今日は晴れ。明日は雨が降るでしょう。"))
    assert lines[0] == "今日 は 晴れ 。" and len(lines) == 2
    assert "".join(lines).replace(" ", "") == "今日は晴れ。明日は雨が降るでしょう。"
    assert list(japanese_words("")) == list(japanese_words("  ")) == []


def test_symbols_are_set_apart_and_long_lines_cut():
    assert list(split_symbols("a+=1; 東京タワー")) == ["a + = 1 ; 東京タワー"]
    assert list(split_symbols("x" * 2500)) == ["x" * 1000, "x" * 1000, "x" * 500]
    assert list(split_symbols("café 12")) == ["caf é 1 2"]


@pytest.mark.parametrize(
    ("piece", "removed", "before_symbols"),
    [
        ("▁東京", "東京", "▁東京"),
        ("▁the", "the", "▁the"),
        ("▁(", "(", "("),
        ("▁1", "1", "1"),
        ("▁", "", "▁"),
        ("▁▁▁", "", ""),
        ("a", "a", "a"),
        ("語", "語", "語"),
    ],
)
def test_prefixes(piece, removed, before_symbols):
    assert PREFIXES["remove"](piece) == removed
    assert PREFIXES["remove_before_symbols"](piece) == before_symbols
    assert PREFIXES["keep"](piece) == piece


def test_the_first_of_equal_pieces_is_kept_and_reserved_ones_are_not():
    assert merge([["a", "b", ""], ["b", "c", "\n"]], {"\n"}) == ["a", "b", "c"]


def test_the_best_pieces_are_kept_and_all_characters():
    learned = [("ab", -1.0), ("a", -2.0), ("abc", -3.0), ("b", -4.0), ("bc", -5.0), ("c", -9.0)]
    assert [piece for piece, _ in keep_best(learned, 4)] == ["ab", "a", "b", "c"]
    assert [piece for piece, _ in keep_best(learned, 1)] == ["a", "b", "c"]
    assert keep_best(learned, 10) == learned


def test_merging_to_a_size_is_exact_and_in_proportion():
    learned = {
        name: [(f"{name}{number}", -float(number)) for number in range(900)] + [(name, -99.0)]
        for name in "xy"
    }
    learned["y"] = [*learned["x"][:100], *learned["y"]]  # shared pieces
    for size in (50, 333, 700):
        pieces = merge_to_size(learned, {"x": 2, "y": 1}, dict.fromkeys("xy", "keep"), size, set())
        assert len(pieces) == len(set(pieces)) == size
        assert {"x", "y"} <= set(pieces)
        from_x = sum(piece[0] == "x" for piece in pieces)
        assert from_x >= 0.6 * size
    with pytest.raises(UserError, match="vocab_size 1 is too small .* which need 2"):
        merge_to_size(learned, {"x": 2, "y": 1}, dict.fromkeys("xy", "keep"), 1, set())
    with pytest.raises(UserError, match="vocab_size 5000 is too large .* set it to 1802"):
        merge_to_size(learned, {"x": 2, "y": 1}, dict.fromkeys("xy", "keep"), 5000, set())


def test_substrings_are_counted_as_by_hand():
    choose = random.Random(0)
    lines = [" ".join("".join(choose.choices("ab日", k=choose.randrange(1, 7))) for _ in range(8)) for _ in range(60)]  # fmt: skip
    words = count_words(lines)
    assert words["▁a"] == sum(line.split().count("a") for line in lines)
    counts: dict[str, int] = {}
    for word, times in words.items():
        for start in range(len(word)):
            for end in range(start + 1, min(len(word), start + 4) + 1):
                counts[word[start:end]] = counts.get(word[start:end], 0) + times
    expected = {piece: count for piece, count in counts.items() if count >= 5 or len(piece) == 1}
    found = frequent_substrings(words, 4, 5)
    assert dict(found) == expected and len(found) == len(expected)
    few = frequent_substrings(words, 4, 5, at_most=10)
    longer = sorted((-len(p) * c for p, c in expected.items() if len(p) > 1))
    assert sorted(-len(p) * c for p, c in few if len(p) > 1) == longer[:10]
