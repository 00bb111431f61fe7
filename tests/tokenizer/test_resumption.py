"""Steps that are done again when they must be, leftovers of killed runs, and mistakes that are told before any training."""

import dataclasses
import gzip
import json
import re
from pathlib import Path

import pytest

from llmjp_jax.corpus import write_documents
from llmjp_jax.errors import UserError
from llmjp_jax.tokenizer import (
    Language,
    MergedRecipe,
    SeededRecipe,
    Stage,
    recipes,
    segmentation,
    steps,
    train_tokenizer,
)
from llmjp_jax.tokenizer.candidates import count_words
from llmjp_jax.tokenizer.sampling import texts_of
from llmjp_jax.tokenizer.segmentation import japanese_words
from llmjp_jax.tokenizer.steps import Steps
from tests.tokenizer.test_procedure import run_tool

TEXTS = Path(json.__file__).read_text("utf-8").split("\n\n")


@pytest.fixture
def english(tmp_path):
    write_documents(tmp_path / "en.jsonl", ({"text": text, "meta": {}} for text in TEXTS))
    return tmp_path / "en.jsonl"


def merged(**changes) -> MergedRecipe:
    language = Language(name="en", sources={"en": 100_000}, vocab_size=400)
    return MergedRecipe(**{"languages": [language], **changes})


def seeded(**changes) -> SeededRecipe:
    fields = {
        "languages": [Language(name="en", sources={"en": 100_000})],
        "stages": [Stage(language="en", vocab_size=60)],
        "min_frequency": 5,
    }
    return SeededRecipe(**{**fields, **changes})


def train(recipe, output, corpus):
    train_tokenizer(recipe=recipe, output=str(output), inputs={"en": [str(corpus)]})
    return output.read_bytes()


@pytest.mark.parametrize("make", [merged, seeded])
def test_another_layout_gives_what_a_fresh_run_gives(tmp_path, english, make):
    train(make(layout="v2.2"), tmp_path / "used.model", english)
    again = train(make(layout="v3"), tmp_path / "used.model", english)
    assert again == train(make(layout="v3"), tmp_path / "fresh.model", english)
    used, fresh = (tmp_path / f"{name}.model.steps" for name in ("used", "fresh"))
    assert (used / "scores.json").read_bytes() == (fresh / "scores.json").read_bytes()


def test_a_layouts_special_tokens_are_learned_in_no_layout(tmp_path, english):
    (tmp_path / "seeds.txt").write_text("<MASK>\n<mask>\nzzz")  # of v3 and of v2.2
    recipes_of = {
        layout: seeded(layout=layout, seed_files=[str(tmp_path / "seeds.txt")])
        for layout in ("v2.2", "v3")
    }
    for layout in ("v2.2", "v3"):
        used = train(recipes_of[layout], tmp_path / "used.model", english)
        assert used == train(recipes_of[layout], tmp_path / f"{layout}.model", english)
        assert b"zzz" in used


def test_another_format_does_every_step_again(tmp_path, monkeypatch):
    made = []

    def make(path):
        made.append(path.name)
        path.write_text("x")

    def run():
        Steps(tmp_path, lambda line: None).run("a.txt", make, settings={})

    run()
    run()
    assert len(made) == 1
    monkeypatch.setattr(steps, "FORMAT", steps.FORMAT + 1)
    run()
    assert len(made) == 2


def test_other_versions_of_mecab_cut_the_text_again(tmp_path, monkeypatch):
    pytest.importorskip("fugashi")
    assert set(segmentation.versions(["japanese_words", "split_symbols"])) == {"fugashi", "jumandic", "regex"}  # fmt: skip
    corpus = tmp_path / "ja.jsonl"
    sentences = ["今日は晴れです。", "明日は雨が降る。", "東京へ行った。"] * 20
    write_documents(corpus, ({"text": text, "meta": {}} for text in sentences))
    language = Language(name="ja", sources={"ja": 9_000}, vocab_size=285, segmenters=["japanese_words"])  # fmt: skip
    given = {"recipe": MergedRecipe(languages=[language]), "output": str(tmp_path / "t.model"), "inputs": {"ja": [str(corpus)]}}  # fmt: skip
    train_tokenizer(**given)
    segmented = tmp_path / "t.model.steps" / "segmented.ja.txt"
    before = segmented.stat().st_mtime_ns
    train_tokenizer(**given)
    assert segmented.stat().st_mtime_ns == before
    monkeypatch.setattr(segmentation.importlib.metadata, "version", lambda package: "99")
    train_tokenizer(**given)
    assert segmented.stat().st_mtime_ns != before
    assert json.loads((tmp_path / "t.model.json").read_text())["segmenters"] == {"fugashi": "99", "jumandic": "99"}  # fmt: skip


def test_what_a_killed_step_left_is_removed(tmp_path, english):
    folder = tmp_path / "t.model.steps"
    folder.mkdir()
    left = [folder / ".sample.en.txt.12345.tmp", folder / ".scores.json.json.7.tmp", tmp_path / ".t.model.9.tmp"]  # fmt: skip
    others = [folder / ".other.txt.12345.tmp", folder / "sample.en.txt.tmp"]
    for file in left + others:
        file.write_text("x")
    train(merged(), tmp_path / "t.model", english)
    assert not [file for file in left if file.exists()]
    assert all(file.exists() for file in others)


def test_a_damaged_record_is_not_a_finished_run(tmp_path, english):
    output = tmp_path / "t.model"
    before = train(merged(), output, english)
    for damaged in (b"\xff\xfe{", b"{", b"[]"):
        (tmp_path / "t.model.json").write_bytes(damaged)
        (tmp_path / "t.model.steps" / "scores.json.json").write_bytes(damaged)
        assert train(merged(), output, english) == before
        assert json.loads((tmp_path / "t.model.json").read_text())["model_sha256"]


def test_all_text_around_a_nul_is_kept():
    pytest.importorskip("fugashi")
    assert list(japanese_words("今日は\0晴れ。\0明日は雨")) == ["今日 は", "晴れ 。", "明日 は 雨"]


def test_only_a_space_ends_a_word():
    words = count_words(["東京　都 a\u00a0b  c\u2028d ", ""])
    assert words == {"▁東京　都": 1, "▁a\u00a0b": 1, "▁c\u2028d": 1}


@pytest.mark.parametrize("text", ["", " \n\u3000", "\0\t"])
def test_texts_without_text_are_named(tmp_path, text):
    write_documents(tmp_path / "en.jsonl", [{"text": text, "meta": {}}] * 5)
    with pytest.raises(UserError, match=r"language en holds no text \(.*en\.jsonl"):
        train(merged(), tmp_path / "t.model", tmp_path / "en.jsonl")


def no_training(*arguments, **settings):
    raise AssertionError("a step was begun")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("folder.model", "folder.model, which is to be written, is a folder"),
        ("t.bin", "its name must end in .model"),
        ("record.model", "record.model.json, which is to be written, is a folder"),
        ("en.jsonl/t.model", "en.jsonl/t.model cannot be written"),
        ("taken.model", "taken.model cannot be written"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_first(tmp_path, english, monkeypatch, output, message):  # fmt: skip
    (tmp_path / "folder.model").mkdir()
    (tmp_path / "record.model.json").mkdir()
    (tmp_path / "taken.model.steps").write_text("no folder")
    monkeypatch.setattr(Steps, "run", no_training)
    with pytest.raises(UserError, match=re.escape(message)):
        train(merged(), tmp_path / output, english)


def test_inputs_that_are_no_files_are_named(tmp_path, english):
    def refused(message, **given):
        with pytest.raises(UserError, match=message):
            train_tokenizer(recipe=merged(), output=str(tmp_path / "t.model"), **given)

    refused("is a folder, not a corpus file", inputs=[str(tmp_path)])
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "train.jsonl.gz").write_bytes(gzip.compress(english.read_bytes()))
    refused("train.jsonl.gz is compressed", inputs=[str(tmp_path / "en" / "train.jsonl.gz")])
    refused("train.jsonl.gz is compressed", corpora_dir=str(tmp_path))
    (tmp_path / "en" / "train_0.jsonl").mkdir()
    refused("train_0.jsonl is a folder", corpora_dir=str(tmp_path))
    refused(r"there is no corpus file .*none_\*\.jsonl", inputs=str(tmp_path / "none_*.jsonl"))


def test_a_pattern_stands_for_its_files_by_name(tmp_path):
    shards = [tmp_path / f"train_{number}.jsonl" for number in range(3)]
    for shard, texts in reversed(list(zip(shards, (TEXTS[:10], TEXTS[10:30], TEXTS[30:]), strict=True))):  # fmt: skip
        write_documents(shard, ({"text": text, "meta": {}} for text in texts))
    pattern = train(merged(), tmp_path / "a.model", tmp_path / "train_*.jsonl")
    train_tokenizer(recipe=merged(), output=str(tmp_path / "b.model"), inputs={"en": list(map(str, shards))})  # fmt: skip
    assert (tmp_path / "b.model").read_bytes() == pattern
    assert (tmp_path / "a.model.json").read_bytes() == (tmp_path / "b.model.json").read_bytes()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stage(language="en", vocab_size=-5), "vocab_size is -5; it must be 1 or more"),
        (lambda: Language(name="a/b", sources={"a": 1}), "name is 'a/b'; it may have letters"),
        (lambda: Language(name="", sources={"a": 1}), "name is ''"),
        (lambda: Language(name="a", sources={"a": 1}, max_piece_length=1 << 16), "between 1 and 65535"),
        (lambda: seeded(max_piece_length=1 << 16), "max_piece_length is 65536; it must lie between 1 and 65535"),
        (
            lambda: seeded(stages=[Stage(language="en", vocab_size=60), Stage(language="en", vocab_size=50)]),
            "stage 2 has vocab_size 50, but stage 1 leaves 60 pieces",
        ),
    ],
)  # fmt: skip
def test_values_that_cannot_work_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_a_stage_that_takes_pieces_away_may_be_larger_than_the_next():
    first = Stage(language="en", vocab_size=60, exclude="x")
    assert seeded(stages=[first, Stage(language="en", vocab_size=50)])


def test_stages_are_checked_before_the_first_is_learned(tmp_path, english, monkeypatch):
    monkeypatch.setattr("llmjp_jax.tokenizer.seeded.grow", no_training)
    (tmp_path / "seeds.txt").write_text("\n".join(map(chr, range(0x4E00, 0x4E40))))
    recipe = seeded(seed_files=[str(tmp_path / "seeds.txt")])
    with pytest.raises(UserError, match="stage 1 has vocab_size 60, but seed_files have 64 pieces"):
        train(recipe, tmp_path / "t.model", english)
    languages = [*recipe.languages, dataclasses.replace(recipe.languages[0], name="ko")]
    stages = [Stage(language="en", vocab_size=60), Stage(language="ko", vocab_size=70)]
    with pytest.raises(UserError, match="stage 2 learns from the language ko, which has no text"):
        train(seeded(languages=languages, stages=stages), tmp_path / "t.model", english)


def test_the_bar_counts_the_bytes_of_the_file_and_names_the_pass(tmp_path, english, monkeypatch):
    from llmjp_jax.tokenizer import sampling

    bars = []

    class Bar(sampling.tqdm):
        def __init__(self, *arguments, **settings):
            super().__init__(*arguments, **settings)
            bars.append(self)

    monkeypatch.setattr(sampling, "tqdm", Bar)
    list(sampling.sample(texts_of([english]), 500, seed="0"))
    assert [bar.n for bar in bars] == [bar.total for bar in bars] == [english.stat().st_size] * 2
    assert [bar.desc.split(" ")[0] for bar in bars] == ["measuring", "sampling"]


def test_the_report_on_a_released_model_asks_for_no_plain(tmp_path, trained, english):
    flags = [f"--tokenizer={trained.path}", f"--held_out=en={english}"]
    result = run_tool(*flags, tool="report_tokenizer")
    assert result.returncode == 2 and "give --no_plain" in result.stderr, result.stderr
    assert run_tool(*flags, "--no_plain", tool="report_tokenizer").returncode == 0


def test_every_piece_of_the_list_of_selectors_comes_last(tmp_path, english):
    selectors = [chr(0xFE00 + number) for number in range(16)]
    (tmp_path / "selectors.json").write_text(json.dumps(selectors))
    stages = [
        Stage(language="en", vocab_size=60),
        Stage(files=[str(tmp_path / "selectors.json")], vocab_size=76),
    ]
    output = tmp_path / "t.model"
    train(seeded(stages=stages), output, english)
    pieces = recipes.read_json(tmp_path / "t.model.steps" / "stage.2.files.json")
    assert pieces[-16:] == selectors and len(pieces) <= 76
