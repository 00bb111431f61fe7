"""Stages: several data sets in turn, found again and refused when wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.inputs import (
    Stages,
    batch_at,
    open_inputs,
    open_stores,
    prefetch,
    steps_of_document,
    where,
)

FOLDS = (("fold_0", 3), ("fold_1", 4), ("refined", 2))
TOTAL = 11  # the last stage goes on for two steps more than it says


@pytest.fixture
def cache(tmp_path, random_store):
    for number, task in enumerate(("a", "b", "refined")):
        (tmp_path / task).mkdir()
        for split in ("train", "validation"):
            random_store(f"{task}/{split}", seed=number, documents=60)
    for name, tasks in {"fold_0": ["a"], "fold_1": ["a", "b"]}.items():
        weights = json.dumps({"weights": dict.fromkeys(tasks, 1)})
        (tmp_path / f"{name}.mixture.json").write_text(weights)
    return tmp_path


@pytest.fixture(params=["windows", "megatron"])
def order(request) -> str:
    return request.param


@pytest.fixture
def stages(cache, order) -> Stages:
    return open_inputs(cache, FOLDS, "train", 16, 4, seed=5, order=order, total_steps=TOTAL)


def equal(one, other) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def test_each_stage_is_what_a_run_of_its_own_would_be(cache, stages, order):
    first = 0
    for (name, _), steps in zip(FOLDS, (3, 4, 4), strict=True):
        alone = open_inputs(cache, name, "train", 16, 4, seed=5, order=order, total_steps=steps)
        for step in range(steps):
            assert equal(batch_at(stages, first + step), batch_at(alone, step))
            for one, other in zip(where(stages, first + step), where(alone, step), strict=True):
                assert one == other._replace(step=first + step)
        first += steps


def test_prefetching_and_hosts_see_the_same_stages(stages):
    for step, tokens in prefetch(stages, 2, lambda batch: batch["tokens"], stop_step=TOTAL):
        assert np.array_equal(tokens, batch_at(stages, step)["tokens"])
        assert np.array_equal(tokens[1:3], batch_at(stages, step, slice(1, 3))["tokens"])


def test_the_steps_of_a_document_are_found_in_every_stage_that_has_its_source(stages):
    everything = [sample for step in range(TOTAL) for sample in where(stages, step)]
    assert {s.step for s in everything if s.source == "a"} == set(range(7))
    for source in ("a", "b", "refined"):
        for document in range(60):
            found = steps_of_document(stages, source, document, range(9))
            expected = [s for s in everything if s.source == source and document in s.documents]
            assert [s for s in found if s.step < TOTAL] == expected
    with pytest.raises(UserError, match="no source c; the sources are a, b, refined"):
        steps_of_document(stages, "c", 0)


def test_the_identity_tells_the_stages_and_their_lengths_but_not_where_the_last_one_ends(cache):
    def identity(names, order="windows", total=TOTAL):
        opened = open_inputs(cache, names, "train", 16, 4, order=order, total_steps=total)
        assert len(opened.fingerprint) == 64
        return opened.identity

    assert [stage["steps"] for stage in identity(FOLDS).values()] == [3, 4, None]
    assert identity(FOLDS) == identity((*FOLDS[:2], ("refined", 9))) == identity(FOLDS, total=99)
    assert identity(FOLDS) != identity((("fold_0", 2), *FOLDS[1:]))
    assert identity(FOLDS) != identity((FOLDS[1], FOLDS[0], FOLDS[2]))
    assert identity(FOLDS, "megatron") != identity(FOLDS, "megatron", total=99)
    samples = [s["total_samples"] for s in identity(FOLDS, "megatron").values()]
    assert samples == [12, 16, 16]


def test_a_run_may_end_before_its_last_stage(cache, order):
    short = open_inputs(cache, FOLDS, "train", 16, 4, order=order, total_steps=5)
    assert batch_at(short, 4)["tokens"].shape == (4, 16)


def test_validation_has_the_stores_of_all_stages(cache):
    assert list(open_stores(cache, FOLDS, "validation")) == ["a", "b", "refined"]


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("fold_0", "fold_1"),
        (("fold_0", 3), "fold_1"),
        (("fold_0",),),
        (("fold_0", 0),),
        (("fold_0", 2.0), ("fold_1", 3)),
        (("fold_0", True), ("fold_1", 3)),
        ((3, "fold_0"),),
        (4, 5),
    ],
    ids=str,
)
def test_what_are_no_pairs_of_name_and_steps_is_refused_in_one_sentence(cache, names):
    for opened in (open_inputs, open_stores):
        sizes = (16, 4) if opened is open_inputs else ()
        with pytest.raises(UserError, match="must be a name, or pairs of a name") as raised:
            opened(cache, names, "train", *sizes)
        assert "\n" not in str(raised.value)


def test_a_stage_that_was_not_built_is_named(cache):
    with pytest.raises(UserError, match="no token store of fold_9"):
        open_inputs(cache, (("fold_0", 1), ("fold_9", 1)), "train", 16, 4)
