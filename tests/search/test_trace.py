"""The trace of a run agrees with what its trainer was given, in both directions."""

from __future__ import annotations

import functools
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from llmjp_jax.checkpoints import read_run
from llmjp_jax.errors import UserError
from llmjp_jax.inputs import ExamplesConfig, mixing, order
from llmjp_jax.search import DocumentId
from llmjp_jax.search.trace import Seen, Trace
from llmjp_jax.training import train
from tests.search.traced_runs import (
    KILLED,
    KINDS,
    LENGTH,
    ROWS,
    STEPS,
    TracedRun,
    arguments_of,
    captured,
    edited_run,
    traced_run,
)

OF_TEXT = ("plain", "mixture", "masked", "megatron", "stages")


@pytest.fixture(scope="module")
def runs(traced_world, tmp_path_factory):
    """runs(kind): the one run of that kind."""
    return functools.cache(
        lambda kind: traced_run(kind, traced_world, tmp_path_factory.mktemp(kind) / "run")
    )


@pytest.fixture(scope="module", params=list(KINDS))
def run(request, runs) -> TracedRun:
    """A run of each kind."""
    return runs(request.param)


@pytest.fixture(scope="module")
def trace(run) -> Trace:
    return Trace.open(run.directory)


def rebuilt(run: TracedRun, trace: Trace, step: int) -> dict[str, np.ndarray]:
    """The arrays of a step from the documents that the trace names."""
    given = run.batches[step]
    shape = given["tokens"].shape
    batch = {name: np.zeros(shape, np.int32) for name in ("tokens", "targets", "segment_ids", "positions")}  # fmt: skip
    rows = trace.rows(step)
    assert [row.row for row in rows] == list(range(shape[0]))
    for row in rows:
        of_text = row.sample is not None
        for segment, piece in enumerate(row.pieces, 1):
            ids = trace.store(piece.document.subset)[piece.document.number][
                piece.start : piece.stop
            ]
            for number, id in enumerate(ids.tolist()):
                column = piece.at + number
                # An example's last token is only a target, its first only an input.
                if column < shape[1] and (of_text or number < len(ids) - 1):
                    batch["tokens"][row.row, column] = id
                    batch["segment_ids"][row.row, column] = segment
                    batch["positions"][row.row, column] = number
                if column and (of_text or number):
                    batch["targets"][row.row, column - 1] = id
    return batch


# From a step to documents.


def test_the_rows_of_every_step_are_what_the_trainer_was_given(run, trace):
    assert trace.total_steps == trace.trained_steps == STEPS == len(run.batches)
    lengths = set()
    for step, given in run.batches.items():
        batch = rebuilt(run, trace, step)
        lengths.add(given["tokens"].shape[1])
        for name in batch.keys() & given.keys():
            assert np.array_equal(batch[name], given[name]), (step, name)
        assert {"tokens", "targets"} <= given.keys()
        if run.kind in ("masked", "megatron", "packed", "pairs"):
            assert {"segment_ids", "positions"} <= given.keys()
    assert lengths == {"padded": {8, 16}, "pairs": {2 * LENGTH}}.get(run.kind, {LENGTH})


def test_a_row_says_its_source_epoch_and_sample(run, trace):
    rows = [row for step in range(STEPS) for row in trace.rows(step)]
    assert [(row.step, row.row) for row in rows] == [(s, r) for s in range(STEPS) for r in range(ROWS)]  # fmt: skip
    for row in rows:
        sources = {piece.document.subset for piece in row.pieces}
        assert row.source == (sources.pop() if len(sources) == 1 else None)
        assert all(piece.start < piece.stop for piece in row.pieces)
        if run.kind in OF_TEXT:
            assert row.epoch >= 0 and row.sample >= 0
            assert sum(piece.stop - piece.start for piece in row.pieces) == LENGTH + 1
        elif not row.pieces:
            assert (row.source, row.epoch, row.sample) == (None, None, None)
    assert len({row.epoch for row in rows}) > 2
    empty = sum(not row.pieces for row in rows)
    assert bool(empty) == (run.kind in ("packed", "padded", "pairs")), "the last batch of an epoch"
    if run.kind == "packed":
        assert any(row.source is None and row.pieces for row in rows), "of two sources"


def test_the_order_of_a_pair_is_chosen_then_rejected(runs):
    trace = Trace.open(runs("pairs").directory)
    for step in range(STEPS):
        for row in trace.rows(step):
            numbers = [piece.document.number for piece in row.pieces]
            assert [number % 2 for number in numbers] == [0, 1] * (len(numbers) // 2)
            assert [number // 2 for number in numbers[::2]] == [n // 2 for n in numbers[1::2]]


# From a document to steps.


def counted(found: list[Seen]) -> Counter:
    return Counter(
        (seen.step, seen.row, token) for seen in found for token in range(seen.start, seen.stop)
    )


def test_every_document_is_seen_where_the_batches_have_it_and_nowhere_else(run, trace):
    inversion = run.inversion()
    documents = run.world.documents(*trace.sources)
    assert len(documents) >= 130 and (run.kind == "plain" or len(documents) >= 200)
    never = 0
    for document in documents:
        found = trace.seen(document)
        assert found == sorted(found)
        assert counted(found) == inversion.pop((document.subset, document.number), Counter())
        never += not found
    assert not inversion and never
    if run.kind == "stages":
        seen = trace.seen(DocumentId("ja", "train", 100))
        assert {seen.step // 130 for seen in seen} == {0, 1} and min(s.step for s in seen) < 40


def test_some_tokens_of_a_document_are_seen_where_the_batches_have_them(run, trace):
    inversion, random = run.inversion(), np.random.default_rng(1)
    documents = run.world.documents(*trace.sources)
    for index in random.integers(0, len(documents), 200):
        document = documents[index]
        held = inversion.get((document.subset, document.number), Counter())
        length = len(trace.store(document.subset)[document.number])
        start, stop = sorted(random.integers(0, length + 2, 2).tolist())
        part = Counter({key: n for key, n in held.items() if start <= key[2] < stop})
        assert counted(trace.seen(document, start, stop)) == part
        assert counted(trace.seen(document, start)) == Counter(
            {key: n for key, n in held.items() if start <= key[2]}
        )
        before = int(random.integers(0, STEPS + 20))
        steps = [step for step, _, _ in part if step < before]
        assert trace.last_seen(document, start, stop, before) == max(steps, default=None)
    assert trace.last_seen(document) == max((step for step, _, _ in held), default=None)


def test_what_the_run_does_not_train_on_is_never_seen(run, trace):
    for document in (
        DocumentId(trace.sources[0], "validation", 0),
        DocumentId("elsewhere", "train", 0),
    ):
        assert trace.seen(document) == [] and trace.last_seen(document) is None
    with pytest.raises(UserError, match="documents and no document 9999"):
        trace.seen(DocumentId(trace.sources[0], "train", 9999))


# Runs that were interrupted.


@pytest.mark.parametrize("kind", KILLED)
def test_a_run_that_was_killed_and_went_on_has_the_same_trace(kind, runs):
    run = runs(kind)
    before, after = run.when_killed, Trace.open(run.directory)
    assert before.total_steps == after.total_steps == STEPS
    assert 100 <= before.trained_steps <= KILLED[kind] < after.trained_steps == STEPS
    for step in range(STEPS):
        assert before.rows(step) == after.rows(step)
    for document in run.world.documents(*after.sources):
        assert before.seen(document) == after.seen(document)


def test_a_run_that_was_lengthened_over_a_moved_cache_is_traced_to_its_new_end(
    traced_world, tmp_path
):
    arguments = arguments_of("mixture", traced_world, tmp_path / "run")
    batches: dict = {}
    with captured(batches):
        train(**arguments | {"total_steps": 20})
        short = Trace.open(tmp_path / "run")
        moved = Path(shutil.copytree(traced_world.cache, tmp_path / "moved"))
        train(**arguments | {"total_steps": 60, "cache_dir": str(moved)})
    run = TracedRun("mixture", tmp_path / "run", batches, traced_world)
    long, inversion = Trace.open(tmp_path / "run"), run.inversion()
    data = read_run(tmp_path / "run")["data"]
    assert data["cache_dir"] == str(moved) and data["total_steps"] == 60
    assert (short.total_steps, long.total_steps) == (20, 60)
    for document in traced_world.documents("ja"):
        held = counted(long.seen(document))
        assert held == inversion.get((document.subset, document.number), Counter())
        early = Counter({key: n for key, n in held.items() if key[0] < 20})
        assert counted(short.seen(document)) == early
    with pytest.raises(UserError, match="which has 20 steps, 0 to 19"):
        short.rows(20)


def test_ones_own_files_are_traced(tmp_path, tiny_vocabulary, traced_world):
    lines = [
        json.dumps({"instruction": f"{n} " * (n % 7), "output": f"{n * n}"}) for n in range(60)
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines))
    config = ExamplesConfig(train_files=str(tmp_path / "mine.jsonl"), template="v1.0")
    arguments = arguments_of("plain", traced_world, tmp_path / "run") | {
        "mixture_or_task_name": None, "cache_dir": str(tmp_path / "cache"), "examples": config, "sequence_length": 64,
        "total_steps": 40,
    }  # fmt: skip
    batches: dict = {}
    with captured(batches):
        train(**arguments)
    (tmp_path / "mine.jsonl").unlink()  # what was read is in the store
    trace = Trace.open(tmp_path / "run")
    run = TracedRun("own", tmp_path / "run", batches, traced_world)
    inverted: dict = {}
    for step in range(40):
        batch = rebuilt(run, trace, step)
        assert all(np.array_equal(batch[name], batches[step][name]) for name in batch)
        for row in trace.rows(step):
            for piece in row.pieces:
                inverted.setdefault(piece.document, []).append((step, row.row, piece.start, piece.stop))  # fmt: skip
    for number in range(60):
        document = DocumentId("mine", "train", number)
        found = [(s.step, s.row, s.start, s.stop) for s in trace.seen(document)]
        assert found == inverted.get(document, [])
    (tmp_path / "cache").rename(tmp_path / "moved")
    assert Trace.open(tmp_path / "run", tmp_path / "moved").rows(7) == trace.rows(7)
    with pytest.raises(UserError, match="give the folder of its token stores as cache_dir"):
        Trace.open(tmp_path / "run")


# The time.


@pytest.fixture
def work(monkeypatch) -> Counter:
    """What is computed of the order of the data: samples that are dealt, and numbers that are permuted."""
    done = Counter()

    def counting(name, of, size):
        def counted(*arguments):
            done[name] += size(*arguments)
            return of(*arguments)

        return counted

    go = counting("dealt", mixing.Dealing._go, lambda self, counts, samples, count: count)
    monkeypatch.setattr(mixing.Dealing, "_go", go)
    walk = counting("permuted", order._walk, lambda index, *_: np.size(index))
    monkeypatch.setattr(order, "_walk", walk)
    return done


@pytest.mark.parametrize("kind", ["plain", "mixture"])
def test_a_far_step_costs_what_a_near_one_costs(kind, runs, tmp_path, work):
    far = 10**7
    long = edited_run(runs(kind).directory, tmp_path / "long", total_steps=2 * far)
    costs = []
    for step in (1000, far):
        trace = Trace.open(long)
        work.clear()
        rows = trace.rows(step)
        costs.append(work.total())
        document = rows[-1].pieces[0].document
        work.clear()
        last = trace.last_seen(document, before=step + 1)
        assert last == step and work.total() < 3000
    assert 0 < costs[1] < 3000 and costs[1] < 3 * costs[0]


def test_what_a_document_costs_is_what_its_occurrences_cost(runs, tmp_path, work):
    run, costs = runs("mixture").directory, []
    for number, steps in enumerate((500, 20_000)):
        trace = Trace.open(edited_run(run, tmp_path / f"{number}", total_steps=steps))
        work.clear()
        found = trace.seen(DocumentId("ja", "train", 100))
        assert len(found) > 20 * 40**number
        costs.append(work.total() / len(found))
    assert costs[1] < 1.5 * costs[0] < 1000
    # A few tokens of a long document cost what the rows with them cost.
    work.clear()
    found = trace.seen(DocumentId("ja", "train", 100), 70, 71)
    assert work.total() < 1.5 * costs[0] * len(found)
