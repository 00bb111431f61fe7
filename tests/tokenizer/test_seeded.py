"""The v3 recipe: seeds stay, stages add, layout and scores of the released model; and how much a token holds."""

import json

import pytest

from llmjp_jax.corpus import write_documents
from llmjp_jax.errors import UserError
from llmjp_jax.tokenizer import (
    Language,
    SeededRecipe,
    Stage,
    compression,
    compression_table,
    load_vocabulary,
    plain_beside,
    save_hf_tokenizer,
    train_tokenizer,
)
from llmjp_jax.tokenizer.layout import RESERVED_V3
from llmjp_jax.tokenizer.model_proto import read_model_proto
from llmjp_jax.tokenizer.seeded import grow, read_pieces

SEEDS = ["<unk>", "<0x41>", "▁the", "in", "▁▁", "zzz", "東京"]


@pytest.fixture(scope="module")
def text(training_texts, tmp_path_factory):
    """language -> file."""
    folder = tmp_path_factory.mktemp("text")
    japanese = [text for text in training_texts if any("ぁ" <= c <= "ん" for c in text)]
    english = [text for text in training_texts if text.isascii()][:-3]
    files = {"ja": japanese, "en": english}
    for name, texts in files.items():
        write_documents(folder / f"{name}.jsonl", ({"text": t, "meta": {}} for t in texts))
    (folder / "seeds.json").write_text(json.dumps({"model": {"vocab": dict.fromkeys(SEEDS, 0)}}))
    (folder / "characters.txt").write_text("鬱\n彙\n\n")
    return folder


def recipe(text, **changes) -> SeededRecipe:
    fields = {
        "languages": [Language(name=name, sources={name: 100_000}) for name in ("en", "ja")],
        "seed_files": [str(text / "seeds.json")],
        "stages": [
            Stage(language="ja", vocab_size=2500, exclude="[0-9。]"),
            Stage(files=[str(text / "characters.txt")], vocab_size=2501),
            Stage(language="en", vocab_size=3200),
        ],
        "min_frequency": 5,
    }
    return SeededRecipe(**{**fields, **changes})


@pytest.fixture(scope="module")
def v3(text, tmp_path_factory):
    output = tmp_path_factory.mktemp("v3") / "v3.model"
    inputs = {name: [str(text / f"{name}.jsonl")] for name in ("ja", "en")}
    return train_tokenizer(recipe=recipe(text), output=str(output), inputs=inputs)


def test_layout_and_reserved_scores_are_those_of_the_released_model(v3, shared_data):
    released = read_model_proto(shared_data / "tokenizers" / "llm-jp-tokenizer-100k.ver3.0b1.model")
    ours = read_model_proto(v3.path)
    size = len(RESERVED_V3)
    assert size == 280
    for mine, theirs in zip(ours.pieces[:size], released.pieces[:size], strict=True):
        assert (mine.piece, mine.score, mine.type) == (theirs.piece, theirs.score, theirs.type)
    assert v3.encode("a\n")[-1] == 18 and (v3.eos_id, v3.bos_id, v3.pad_id) == (2, 1, 4)


def test_seeds_come_first_and_stay_and_stages_add_what_they_may(v3):
    learned = v3.pieces[280:]
    assert learned[:4] == ["▁the", "in", "zzz", "東京"]
    added = learned[4:]
    assert "鬱" in added or "彙" in added
    japanese = added[: added.index("鬱" if "鬱" in added else "彙")]
    assert len(japanese) > 1000 and not [p for p in japanese if set(p) & set("0123456789。")]
    assert "\n" not in v3.pieces
    assert len(learned) <= 3200 and len(set(learned)) == len(learned)
    # Pieces of v3 cross the words of Japanese, unlike v2's.
    assert [piece for piece in japanese if len(piece) > 4]


def test_it_is_the_same_again_and_differs_with_the_seed(v3, text, tmp_path):
    inputs = {name: [str(text / f"{name}.jsonl")] for name in ("ja", "en")}
    again = train_tokenizer(recipe=recipe(text), output=str(tmp_path / "a.model"), inputs=inputs)
    assert (tmp_path / "a.model").read_bytes() == read_model_proto(v3.path).SerializeToString(
        deterministic=True
    )
    assert again == v3
    other = recipe(text, seed=1)
    assert train_tokenizer(recipe=other, output=str(tmp_path / "a.model"), inputs=inputs) != v3


def test_it_becomes_a_hugging_face_tokenizer_with_bos_before(v3, tmp_path):
    transformers = pytest.importorskip("transformers")
    save_hf_tokenizer(v3, tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in ("東京へ行った。", "the book\nin 2024"):
        assert tokenizer(text)["input_ids"] == [1, *v3.encode(text)]


def test_growing_shrinks_to_the_size_and_keeps_the_frequent(text):
    words = {"▁abab": 50, "▁abc": 40, "▁xyz": 30, "▁q": 1}
    pieces = grow(words, ["q"], 7, recipe(text))
    assert len(pieces) == 6 and "q" not in pieces  # with the fixed one, 7
    assert {"▁abc", "▁xyz"} <= set(pieces)
    kept = grow(words, ["q"], 12, recipe(text, keep_characters=True))
    assert set("▁abcxyz") <= set(kept)
    with pytest.raises(UserError, match="vocab_size 1 of a Stage is below the 2 pieces"):
        grow(words, ["q", "r"], 1, recipe(text))


def test_words_of_a_dictionary_are_kept_alone(text, tmp_path):
    (tmp_path / "words.csv").write_text("学校,1,2,3\nから,1,2,3\nする,4\n")
    stage = Stage(language="ja", vocab_size=1500, words=str(tmp_path / "words.csv"))
    inputs = {"ja": [str(text / "ja.jsonl")]}
    vocabulary = train_tokenizer(
        recipe=recipe(text, stages=[stage]), output=str(tmp_path / "t.model"), inputs=inputs
    )
    longer = {piece for piece in vocabulary.pieces[284:] if len(piece) > 1}
    assert longer and longer <= {"学校", "から", "する"}


def test_lists_of_pieces_are_read_from_every_format(v3, text, tmp_path):
    (tmp_path / "list.json").write_text('["a", "▁b"]')
    (tmp_path / "unigram.json").write_text('{"model": {"vocab": [["a", -1.0], ["▁b", -2.0]]}}')
    (tmp_path / "scores.json").write_text('{"a": -1.0, "▁b": -2}')
    (tmp_path / "list.txt").write_text("a\t-1\n▁b")
    for name in ("list.json", "unigram.json", "scores.json", "list.txt"):
        assert read_pieces(str(tmp_path / name)) == ["a", "▁b"]
    assert read_pieces(v3.path) == v3.pieces
    (tmp_path / "bad.json").write_text('{"model": {"vocab": 3}}')
    with pytest.raises(UserError, match="bad.json is not a list of pieces"):
        read_pieces(str(tmp_path / "bad.json"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vocab_size": 9}, "needs either language or files"),
        ({"vocab_size": 9, "language": "ja", "exclude": "["}, "is no regular expression"),
        ({"vocab_size": 9, "files": ["none.txt"]}, "none.txt, which is no file"),
    ],
)
def test_a_stage_checks_itself(values, message):
    with pytest.raises(UserError, match=message):
        Stage(**values)


def test_compression_counts_characters_and_tokens(v3, trained):
    texts = {"ja": ["東京へ行った。", "学校"], "en": ["the book"]}
    report = compression({"v3": v3, "v2": trained}, texts)
    assert report["texts"]["ja"] == {"documents": 2, "characters": 9, "bytes": 27}
    for name, vocabulary in {"v3": v3, "v2": trained}.items():
        tokens = sum(len(vocabulary.encode(text)) for text in texts["ja"])
        assert report["tokenizers"][name]["characters_per_token"]["ja"] == pytest.approx(9 / tokens)
    unknown = compression({"v2": trained}, {"ja": ["𩸽"]})["tokenizers"]["v2"]
    assert unknown["byte_tokens"]["ja"] == pytest.approx(4 / 5)
    assert "4,000" in compression_table(report)
    with pytest.raises(UserError, match="held-out text of fr is empty"):
        compression({"v3": v3}, {"fr": [""]})


def test_a_plain_model_needs_the_samples(v3, trained):
    plain = plain_beside(v3.path, character_coverage=0.98)
    assert plain.vocab_size == v3.vocab_size
    assert plain == load_vocabulary(plain.path)
    with pytest.raises(UserError, match="has no samples"):
        plain_beside(trained.path)
