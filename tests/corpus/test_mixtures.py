"""Manifests' subsets and mixtures: every field is read, and each mistake is one sentence."""

import pytest

from llmjp_jax.corpus import Mixture, Subset, load_mixtures, mixtures
from llmjp_jax.errors import UserError


def read(monkeypatch, entries):
    """The mixtures of one manifest, `data/corpus.toml`."""
    monkeypatch.setattr(mixtures, "manifest_names", lambda: ["corpus"])
    monkeypatch.setattr(mixtures, "load_manifest", lambda name: entries)
    return mixtures._all_mixtures.__wrapped__()


SUBSETS = {"a": {"source": "x", "tokens": {"t": 100}}, "b": {"source": "y", "folder": "bb"}}


def test_a_share_is_epochs_of_a_subsets_tokens_or_a_weight(monkeypatch):
    found = read(monkeypatch, {"subsets": SUBSETS, "mixtures": {
        "m": {"tokenizer": "t", "epochs": {"a": 2}, "weights": {"b": 7}},
        "n": {"like": "m", "weights": {"a": 30}},
    }})  # fmt: skip
    assert found["m"].weights == {"a": 200, "b": 7} and found["m"].epochs("a") == 2
    assert found["m"].epochs("b") is None
    assert found["n"].weights == {"a": 30, "b": 7} and found["n"].tokenizer == "t"


def test_folds_are_mixtures_of_parts(monkeypatch):
    found = read(monkeypatch, {"subsets": SUBSETS, "mixtures": {"m": {"folds": 2, "weights": {"a": 1, "b": 3}}}})  # fmt: skip
    assert list(found) == ["m_fold_00", "m_fold_01"]
    assert found["m_fold_01"].task_weights == {"a_fold_01": 1, "b_fold_01": 3}


def test_files_of_a_part_lie_in_its_folder_in_the_order_of_their_names(tmp_path):
    mixture = Mixture(name="m", subsets={"b": Subset(name="b", source="x", folder="bb")}, weights={"b": 1}, part="fold_00")  # fmt: skip
    folder = tmp_path / "bb" / "fold_00"
    folder.mkdir(parents=True)
    with pytest.raises(
        UserError, match=r"fold_00 has no file train\*.jsonl: the subset b of m \(x\)"
    ):
        mixture.files(tmp_path, "b")
    for name in ("train_1.jsonl", "train_0.jsonl", "validation.jsonl", "test.jsonl"):
        (folder / name).touch()
    assert mixture.files(tmp_path, "b") == {
        "train": [folder / "train_0.jsonl", folder / "train_1.jsonl"],
        "validation": [folder / "validation.jsonl"],
    }


def test_a_name_that_no_manifest_has_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="did you mean corpus_v2"):
        load_mixtures("corpus_v22")
    assert [mixture.name for mixture in load_mixtures("corpus_v1")] == [f"corpus_v1_fold_{i:02}" for i in range(10)]  # fmt: skip


@pytest.mark.parametrize(
    "entries, message",
    [
        ({"subsets": {"a": {"source": "x", "size": 3}}}, r"\[subsets.a\] has an unknown field size"),
        ({"subsets": {"a": {"url": "x"}}}, r"\[subsets.a\] has no field source"),
        ({"subsets": {}, "other": 1}, "corpus.toml has an unknown field other"),
        ({"mixtures": {"m": {"weights": {"a": 1}}}}, "names the subset a, which no manifest has"),
        ({"mixtures": {"m": {"note": "x"}}}, r"\[mixtures.m\] has an unknown field note"),
        ({"mixtures": {"m": {"like": "n"}}}, "like names n, which no manifest has"),
        ({"mixtures": {"m": {}}}, r"\[mixtures.m\] has no subsets"),
        ({"subsets": {"a": {"source": "x"}}, "mixtures": {"m": {"weights": {"a": 0.5}}}},
         "a = 0.5 must be a positive whole number"),
        ({"subsets": {"a": {"source": "x"}}, "mixtures": {"m": {"tokenizer": "t", "epochs": {"a": 1}}}},
         "whose tokens under t no manifest gives"),
    ],
)  # fmt: skip
def test_a_manifest_with_a_field_that_nobody_reads_is_refused(monkeypatch, entries, message):
    with pytest.raises(UserError, match=message):
        read(monkeypatch, entries)
