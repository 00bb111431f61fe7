"""From names or files to Examples: what fits is opened, what does not is refused in one sentence."""

from __future__ import annotations

import json

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.inputs import (
    ExamplesConfig,
    build_examples,
    open_examples,
    open_validation_examples,
)
from llmjp_jax.tokenizer import load_vocabulary
from tests.inputs.example_files import conversations, preferences, write_lines
from tests.inputs.example_stores import equal


@pytest.fixture
def vocabulary(tiny_vocabulary):
    return load_vocabulary(tiny_vocabulary)


@pytest.fixture
def options(vocabulary) -> dict:
    return {"sequence_length": 512, "batch_size": 4, "seed": 3, "vocabulary": vocabulary}


@pytest.fixture
def cache(tmp_path, vocabulary):
    """A Mixture `tuning` of two Tasks, one 16 times, one without a validation split; a Task of pairs; one of text."""
    for number, task in enumerate(("dolly", "careful")):
        path = write_lines(tmp_path / f"{task}.jsonl", conversations(30 - 10 * number, number))
        for split in ("train", "validation")[: 2 - number]:
            build_examples(path, vocabulary, "v1.1", tmp_path / "cache" / task / split)
    weights = {"weights": {"dolly": 1, "careful": 16}}
    (tmp_path / "cache" / "tuning.mixture.json").write_text(json.dumps(weights))
    path = write_lines(tmp_path / "p.jsonl", preferences(20))
    build_examples(path, vocabulary, "v1.1", tmp_path / "cache" / "hh" / "train")
    return tmp_path / "cache"


def test_a_mixtures_weights_are_repetitions(cache, options):
    examples = open_examples(ExamplesConfig(), cache, "tuning", **options)
    assert {s.name: s.weight for s in examples.sources} == {"dolly": 1, "careful": 16}
    assert len(examples) == 30 + 16 * 20 and not examples.pairs
    assert open_examples(ExamplesConfig(), cache, "dolly", "validation", **options).steps(1)


def test_validation_is_one_for_each_task_that_has_it(cache, options):
    found = open_validation_examples(ExamplesConfig(), cache, "tuning", **options)
    assert list(found) == ["dolly"] and len(found["dolly"]) == 30
    assert open_validation_examples(ExamplesConfig(), cache, "hh", **options) == {}


def test_ones_own_files_need_no_store_and_are_tokenised_once(tmp_path, options, capfd):
    write_lines(tmp_path / "a_1.jsonl", conversations(30))
    write_lines(tmp_path / "a_2.jsonl", conversations(10, 1))
    write_lines(tmp_path / "held.out.jsonl", conversations(7, 2))
    config = ExamplesConfig(
        train_files=f"{tmp_path}/a_*.jsonl", validation_files=f"{tmp_path}/held.out.jsonl"
    )
    first = open_examples(config, tmp_path / "cache", None, **options)
    validation = open_validation_examples(config, tmp_path / "cache", None, **options)
    assert len(first) == 40 and {name: len(e) for name, e in validation.items()} == {"held": 7}
    capfd.readouterr()
    again = open_examples(config, tmp_path / "cache", None, **options)
    assert "examples of" not in capfd.readouterr().err
    assert again.fingerprint == first.fingerprint and equal(again.batch(1), first.batch(1))
    alone = ExamplesConfig(train_files=config.train_files)
    assert open_validation_examples(alone, tmp_path / "cache", None, **options) == {}


def test_preferences_are_known_by_their_fields(tmp_path, options):
    path = write_lines(tmp_path / "p.jsonl", preferences(20))
    examples = open_examples(
        ExamplesConfig(train_files=str(path)), tmp_path / "cache", None, **options
    )
    assert examples.pairs and len(examples) == 20


def test_ones_own_validation_may_stand_beside_a_mixture(tmp_path, cache, options):
    config = ExamplesConfig(validation_files=str(tmp_path / "dolly.jsonl"))
    assert list(open_validation_examples(config, cache, "tuning", **options)) == ["dolly"]
    assert len(open_examples(config, cache, "tuning", **options)) == 350


def test_what_does_not_fit_is_refused_in_one_sentence(cache, options, other_vocabulary, tmp_path):
    own = ExamplesConfig(train_files=str(tmp_path / "dolly.jsonl"))
    other = {"vocabulary": load_vocabulary(other_vocabulary)}
    cases = [
        (own, cache, "tuning", {}, "both mixture_or_task_name = 'tuning' and"),
        (ExamplesConfig(), cache, None, {}, "give TRAIN_FILE, or MIXTURE_OR_TASK_NAME and CACHE_DIR"),
        (ExamplesConfig(), None, "tuning", {}, "give TRAIN_FILE, or"),
        (ExamplesConfig(), cache, (("dolly", 3),), {}, "are stages, which examples do not have"),
        (ExamplesConfig(), cache, "oasst", {}, "no token store of oasst"),
        (ExamplesConfig(template="v1.0"), cache, "dolly", {}, "built with template 'v1.1', and the run's is 'v1.0'"),
        (ExamplesConfig(), cache, "dolly", other, "was built with vocabulary"),
        (ExamplesConfig(max_length=10), cache, "dolly", {}, "none of the 30 examples"),
    ]  # fmt: skip
    for config, folder, name, changes, sentence in cases:
        with pytest.raises(UserError, match=sentence) as raised:
            open_examples(config, folder, name, **options | changes)
        assert "\n" not in str(raised.value)
    assert open_examples(ExamplesConfig(template=None), cache, "dolly", **options).steps(1)
