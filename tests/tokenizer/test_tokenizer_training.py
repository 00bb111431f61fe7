"""One training from texts in memory: LLM-jp's layout of ids, sane segmentation, the same file each time, clear mistakes."""

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.tokenizer import train_unigram
from llmjp_jax.tokenizer.model_proto import llmjp_model_proto, read_model_proto
from llmjp_jax.tokenizer.training import training_segments

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6


def layout(proto) -> list[tuple[str, int]]:
    return [(piece.piece, piece.type) for piece in proto.pieces[:289]]


def test_the_layout_is_llmjps(trained):
    proto = read_model_proto(trained.path)
    assert len(proto.pieces) == trained.vocab_size == 4000
    names = ["<unk>", "<s>", "</s>", "<mask>", "<pad>", "<CLS>", "<SEP>", "<EOD>"]
    assert [piece.piece for piece in proto.pieces[:8]] == names
    assert [piece.type for piece in proto.pieces[:8]] == [UNKNOWN] + [CONTROL] * 7
    assert [piece.piece for piece in proto.pieces[8:32]] == [
        "▁" * length for length in range(24, 0, -1)
    ]
    assert proto.pieces[32].piece == "\n"
    assert [piece.piece for piece in proto.pieces[33:289]] == [
        f"<0x{byte:02X}>" for byte in range(256)
    ]
    assert {piece.type for piece in proto.pieces[33:289]} == {BYTE}
    assert {piece.type for piece in proto.pieces[8:33]} == {NORMAL}
    assert {piece.type for piece in proto.pieces[289:]} == {NORMAL}
    assert len({piece.piece for piece in proto.pieces}) == 4000


def test_the_layout_and_rules_equal_those_of_the_released_model(trained, shared_data):
    ours = read_model_proto(trained.path)
    released = read_model_proto(shared_data / "tokenizers" / "code20K_en40K_ja60K.ver2.2.model")
    assert layout(ours) == layout(released)
    ours_normalizer, theirs = ours.normalizer_spec, released.normalizer_spec
    for field in (
        "name",
        "precompiled_charsmap",
        "add_dummy_prefix",
        "remove_extra_whitespaces",
        "escape_whitespaces",
    ):
        assert getattr(ours_normalizer, field) == getattr(theirs, field), field
    for field in (
        "model_type",
        "byte_fallback",
        "split_by_whitespace",
        "unk_id",
        "bos_id",
        "eos_id",
        "pad_id",
    ):
        assert getattr(ours.trainer_spec, field) == getattr(released.trainer_spec, field), field
    assert ours.pieces[7].score == released.pieces[7].score == -80.0


def pieces(vocabulary, text: str) -> list[str]:
    return [vocabulary.pieces[id] for id in vocabulary.encode(text)]


def test_newlines_and_space_runs_are_one_token_each(trained):
    assert pieces(trained, "\n\n本") == ["▁", "\n", "\n", "本"]
    for length in range(1, 24):
        assert pieces(trained, " " * length + "。") == ["▁" * (length + 1), "。"]
    newline, run, word = pieces(trained, "a\n        return")[-3:]
    assert (newline, run + word) == ("\n", "▁" * 8 + "return")
    assert set(run) == {"▁"}


def test_a_lone_space_costs_what_was_learned(trained):
    scores = trained.backend.scores[8:32]
    assert len(set(scores)) == 1
    assert -10 < scores[0] < 0
    words = [p for p in trained.pieces[289:] if p.isascii() and p.isalpha() and len(p) > 3]
    inside = [word for word in words if "▁" + word not in set(trained.pieces)]
    # Were the space forbiddingly dear, each of these would be broken up to begin with some `▁x`.
    assert any(pieces(trained, word) == ["▁", word] for word in inside)


def test_bytes_are_only_for_characters_without_a_piece(trained, training_texts):
    assert pieces(trained, "𩸽") == ["▁", "<0xF0>", "<0xA9>", "<0xB8>", "<0xBD>"]
    known = set("".join(trained.pieces[289:]))
    for ids, text in zip(trained.encode_batch(training_texts[:2000]), training_texts, strict=False):
        used = sum(33 <= id < 289 for id in ids)
        strange = sum(
            len(character.encode()) for character in text if character not in known | set(" \n")
        )
        assert used == strange, text


def test_words_are_pieces_and_digits_stay_single(trained):
    assert pieces(trained, "the book") == ["▁the", "▁book"]
    assert pieces(trained, "2024") == ["▁", "2", "0", "2", "4"]
    learned = trained.pieces[289:]
    assert not [piece for piece in learned if "\n" in piece or "\t" in piece]
    assert not [
        piece
        for piece in learned
        if len(piece) > 1 and any(c.isdigit() and c.isascii() for c in piece)
    ]
    japanese = [piece for piece in learned if any("ぁ" <= c <= "龥" for c in piece)]
    assert len(japanese) > 500
    assert not [piece for piece in japanese if "▁" in piece]
    assert sum(len(piece) > 1 for piece in japanese) > 100


def test_segments_are_what_encoding_sees(training_texts):
    assert list(training_segments("f(1)\n  of 東京")) == ["▁f(1)", "▁▁of▁", "東京"]
    assert list(training_segments("東京")) == ["▁", "東京"]
    assert list(training_segments("a\tb\0c")) == ["▁a", "b", "c"]
    assert list(training_segments("")) == ["▁"]
    for text in training_texts[:50]:
        whole = "".join(training_segments(text))
        assert whole == ("▁" + text).replace(" ", "▁").replace("\n", "").replace("\t", "")


def test_the_same_texts_give_the_same_file(training_texts, tmp_path):
    texts = training_texts[:3000]
    for name in ("a", "b"):
        train_unigram(texts, tmp_path / name / "t.model", vocab_size=2500, character_coverage=0.99)
    first, second = (tmp_path / name / "t.model" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("vocab_size", "coverage", "message"),
    [
        (289, 0.9995, "must be above 289"),
        (320, 0.9995, "vocab_size .*is too small"),
        (100_000, 0.9995, "vocab_size 100000 is too large for this text: set it to"),
    ],
)
def test_an_impossible_vocabulary_size_is_explained(
    training_texts, tmp_path, vocab_size, coverage, message
):
    with pytest.raises(UserError, match=message):
        train_unigram(
            training_texts[:500],
            tmp_path / "t.model",
            vocab_size=vocab_size,
            character_coverage=coverage,
        )
    assert list(tmp_path.iterdir()) == []


def test_the_size_that_the_message_offers_works(training_texts, tmp_path):
    with pytest.raises(UserError) as error:
        train_unigram(training_texts[:500], tmp_path / "t.model", vocab_size=100_000)
    most = int(str(error.value).split("set it to ")[1].split()[0])
    assert (
        train_unigram(training_texts[:500], tmp_path / "t.model", vocab_size=most).vocab_size
        == most
    )


def test_no_text_is_refused(tmp_path):
    with pytest.raises(UserError, match="no text to train"):
        train_unigram([], tmp_path / "t.model", vocab_size=1000)


def test_a_reserved_or_repeated_piece_is_refused():
    for learned in ([("\n", -1.0)], [("a", -1.0), ("a", -2.0)], [("", -1.0)], [("<EOD>", -1.0)]):
        with pytest.raises(ValueError, match="empty, reserved or there already"):
            llmjp_model_proto(learned)
