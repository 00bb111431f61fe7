"""Training: LLM-jp's layout of ids, sane segmentation, the same file each time, and mistakes in one sentence."""

import json
import subprocess
import sys

import pytest

from llmjp_jax.corpus import write_documents
from llmjp_jax.errors import UserError
from llmjp_jax.files import repository_root
from llmjp_jax.tokenizer import sample_texts, train_from_corpora, train_unigram
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


def test_a_sample_has_the_proportions_asked_for():
    corpora = {
        "ja": ["日本語の文。" * 3] * 4000,
        "en": ["an English text. "] * 4000,
        "code": ["x = 1\n" * 5000] * 20,
    }
    weights = {"ja": 50, "en": 45, "code": 5}
    sample = sample_texts(corpora, weights, max_bytes=60_000)
    sizes = {
        name: sum(len(t.encode()) for t in sample if t[:2] == corpora[name][0][:2])
        for name in corpora
    }
    for name, weight in weights.items():
        assert sizes[name] == pytest.approx(60_000 * weight / 100, abs=60)
    assert sample == sample_texts(corpora, weights, max_bytes=60_000)


def test_a_scarce_corpus_limits_the_sample():
    corpora = {"a": [f"a{n:04}" for n in range(10)], "b": [f"b{n:04}" for n in range(1000)]}
    sample = sample_texts(corpora, {"a": 1, "b": 3}, max_bytes=10**9)
    assert sorted(text for text in sample if text[0] == "a") == corpora["a"]
    assert len(sample) == 40
    other = sample_texts(corpora, {"a": 1, "b": 3}, max_bytes=10**9, seed=1)
    assert sorted(other) != sorted(sample)


def test_wrong_proportions_are_refused():
    for corpora, weights, message in [
        ({"a": ["x"]}, {"b": 1}, "proportions name"),
        ({"a": ["x"]}, {"a": 0}, "must be above 0"),
        ({"a": [""]}, {"a": 1}, "corpus a holds no text"),
    ]:
        with pytest.raises(UserError, match=message):
            sample_texts(corpora, weights, max_bytes=100)


def write_corpus(path, texts):
    write_documents(path, ({"text": text, "meta": {}} for text in texts))


def test_a_finished_tokenizer_is_not_trained_again_until_its_inputs_change(
    training_texts, tmp_path
):
    corpus, output = tmp_path / "a.jsonl", tmp_path / "t.model"
    write_corpus(corpus, training_texts[:1500])
    settings = {"vocab_size": 1900, "max_bytes": 60_000}
    first = train_from_corpora({corpus: 1.0}, output, **settings)
    modified = output.stat().st_mtime_ns
    assert train_from_corpora({corpus: 1.0}, output, **settings) == first
    assert output.stat().st_mtime_ns == modified
    output.write_bytes(output.read_bytes()[:-1])  # damaged after it was written
    assert train_from_corpora({corpus: 1.0}, output, **settings) == first
    write_corpus(corpus, training_texts[1500:3500])
    assert train_from_corpora({corpus: 1.0}, output, **settings) != first


def run_tool(*arguments):
    command = [sys.executable, "tools/train_tokenizer.py", *map(str, arguments)]
    return subprocess.run(
        command, cwd=repository_root(), capture_output=True, text=True, check=False
    )


def test_the_command_trains_on_the_quickstarts_folder(training_texts, tmp_path):
    japanese = [text for text in training_texts if any("ぁ" <= c <= "ん" for c in text)]
    english = [text for text in training_texts if text.isascii()]
    for name, texts in {"ja": japanese, "en": english[:-3], "code": english[-3:]}.items():
        write_corpus(tmp_path / name / "train.jsonl", texts)
    output = tmp_path / "t.model"
    result = run_tool("--corpora_dir", tmp_path, "--output", output, "--vocab_size=3000")
    assert result.returncode == 0, result.stderr
    assert "3,000 pieces" in result.stdout
    record = json.loads((tmp_path / "t.model.json").read_text())
    assert [proportion for _, proportion in record["inputs"]] == [50, 45, 5]


def test_the_command_names_a_bad_input(tmp_path):
    result = run_tool("--inputs", tmp_path / "none.jsonl", "--output", tmp_path / "t.model")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith(
        f"error: there is no corpus file {tmp_path / 'none.jsonl'}"
    )
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"text": 3}\n')
    result = run_tool("--inputs", tmp_path / "bad.jsonl", "--output", tmp_path / "t.model")
    assert result.returncode == 2
    assert "bad.jsonl, line 2: field 'text' is of type int" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "t.model").exists()
