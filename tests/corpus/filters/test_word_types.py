"""How many different words of a list a document has."""

import pytest

from llmjp_jax.corpus.filters.word_types import word_types
from llmjp_jax.errors import UserError


@pytest.fixture
def words(tmp_path) -> str:
    path = tmp_path / "words.txt"
    path.write_text("# no word\nねこ\nねこじた\nいぬ\nいぬ\n犬小屋\n小屋\n", encoding="utf-8")
    return str(path)


def document(*texts: str) -> dict:
    return {"text": "", "meta": {}, "paragraphs": [{"path": "p", "text": text} for text in texts]}


@pytest.mark.parametrize(
    ("texts", "types"),
    [
        ([""], 0),
        (["ねこねこねこ"], 1),
        (["ねこ", "いぬ", "ねこ"], 2),
        (["ねこじた"], 1),  # the longest where two begin
        (["犬小屋"], 1),  # reading goes on after it
        (["犬小屋と小屋"], 2),
        (["ねこじねこじた"], 2),
        (["# no word"], 0),
        (["ね", "こ"], 0),  # a word does not go over a paragraph's end
    ],
)
def test_different_words_are_counted(words, texts, types):
    assert word_types(document(*texts), word_list=words, threshold=types + 1)
    assert types == 0 or not word_types(document(*texts), word_list=words, threshold=types)


def test_removed_paragraphs_do_not_count_and_a_text_without_paragraphs_does(words):
    one = document("ねこ", "いぬ")
    one["paragraphs"][0]["removed"] = "x"
    assert word_types(one, word_list=words, threshold=2)
    assert not word_types({"text": "ねこ\nいぬ", "meta": {}}, word_list=words, threshold=2)


def test_hojichars_lists_are_uzushios():
    for name in ("hojichar_adult", "hojichar_discrimination"):
        assert word_types(document("今日は天気がよい。"), word_list=name, threshold=1)


def test_only_the_kind_whose_code_ends_is_there(words):
    with pytest.raises(UserError, match="kind='uniq'"):
        word_types(document("a"), word_list=words, threshold=1, kind="sqrt")
