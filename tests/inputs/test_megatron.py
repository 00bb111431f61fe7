"""Megatron's order: every index and every sample of Megatron-LM itself, and what happens at its edges."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.inputs import (
    Inputs,
    Source,
    TokenStore,
    TokenStoreWriter,
    batch_at,
    steps_of_document,
    where,
)
from llmjp_jax.inputs import megatron_indices as indices
from llmjp_jax.inputs.megatron import Blend, MegatronSamples

SINGLE = [
    "ja_v22.L64.s1234.n200",
    "ja_v22.L64.s1234.n37",
    "ja_v22.L128.s42.n150",
    "code_v22.L64.s1234.n260",
    "ja_v21.L64.s7.n200",
]


@pytest.fixture(scope="module")
def reference(shared_data, tmp_path_factory):
    """(expected.json, the arrays, a folder with copies of Megatron's stores, which indices may be written beside)."""
    folder = shared_data / "parity" / "megatron"
    copies = tmp_path_factory.mktemp("megatron")
    for path in [*folder.glob("*.bin"), *folder.glob("*.idx")]:
        shutil.copyfile(path, copies / path.name)
    expected = json.loads((folder / "expected.json").read_bytes())
    with np.load(folder / "indices_samples.npz", allow_pickle=False) as arrays:
        return expected, dict(arrays), copies


def assert_the_indices(samples: MegatronSamples, arrays: dict, key: str) -> None:
    for ours, name in [
        (samples.documents, "doc_idx"),
        (samples.samples, "sample_idx"),
        (samples.shuffle, "shuffle_idx"),
    ]:
        theirs = arrays[f"{key}/{name}"]
        assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs), name


def rows(inputs: Inputs, count: int) -> np.ndarray:
    """The first `count` rows of the run, L + 1 tokens each."""
    batches = [batch_at(inputs, step) for step in range(-(-count // inputs.batch_size))]
    tokens = np.concatenate([batch["tokens"] for batch in batches])
    targets = np.concatenate([batch["targets"] for batch in batches])
    return np.concatenate([tokens, targets[:, -1:]], axis=1)[:count]


@pytest.mark.parametrize("key", SINGLE)
@pytest.mark.parametrize("documents_at_once", [1, 7, 1 << 22])
def test_one_data_set_has_megatrons_indices_and_samples(
    reference, tmp_path, monkeypatch, key, documents_at_once
):
    expected, arrays, folder = reference
    case = expected["single"][key]
    for suffix in (".bin", ".idx"):
        shutil.copyfile(folder / f"{case['prefix']}{suffix}", tmp_path / f"s{suffix}")
    monkeypatch.setattr(indices, "_DOCUMENTS_AT_ONCE", documents_at_once)
    source, length = Source("s", 1, TokenStore(tmp_path / "s")), case["seq_length"]
    count = case["num_samples"]
    tokens = source.store.num_tokens
    assert tokens == case["tokens_per_epoch"]
    assert indices.epochs_needed(tokens, length, count) == case["num_epochs"]
    apart = indices.samples_apart(tokens, length, count)
    assert (apart is not None) == case["separate_last_epoch"]

    samples = MegatronSamples(source, length, case["seed"], count)
    assert len(samples) == case["len"]
    assert_the_indices(samples, arrays, key)
    inputs = Inputs(
        sources=(source,), sequence_length=length, batch_size=1, seed=case["seed"], order="megatron",
        total_steps=count,
    )  # fmt: skip
    theirs = arrays[f"{key}/samples"][:count]
    assert np.array_equal(rows(inputs, len(theirs)), theirs)


@pytest.mark.parametrize("key", ["b1", "b2"])
def test_a_blend_has_megatrons_indices_and_samples(reference, tmp_path, key):
    expected, arrays, folder = reference
    case = expected["blend"][key]
    weights = indices.normalised([float(weight) for weight in case["data_path"][::2]])
    assert weights == case["normalised_weights"]
    counts = indices.samples_of_blend(weights, case["num_samples"])
    assert counts == case["per_dataset_num_samples"]
    indices.write_blend(tmp_path, weights, case["size"])
    dealt = np.load(tmp_path / "sources.npy")
    assert dealt.dtype == arrays[f"{key}/dataset_index"].dtype
    assert np.array_equal(dealt, arrays[f"{key}/dataset_index"])
    sources = [Source(name, 1, TokenStore(folder / name)) for name in case["data_path"][1::2]]
    row = np.empty(case["seq_length"] + 1, np.int32)
    held = [
        MegatronSamples(source, case["seq_length"], case["seed"], count)
        for source, count in zip(sources, counts, strict=True)
    ]
    for number, samples in enumerate(held):
        assert_the_indices(samples, arrays, f"{key}/ds{number}")
    for i, theirs in enumerate(arrays[f"{key}/samples"]):
        samples = held[dealt[i]]
        within = arrays[f"{key}/dataset_sample_index"][i : i + 1]
        samples.read(int(samples.pick(within)[1][0]), row, None)
        assert np.array_equal(row, theirs)


def blended(reference, batch_size: int, **changes) -> Inputs:
    """The run of blend b1, whose weights are the token counts of LLM-jp v2.0."""
    expected, _, folder = reference
    case = expected["blend"]["b1"]
    pairs = zip(case["data_path"][::2], case["data_path"][1::2], strict=True)
    sources = tuple(Source(name, int(weight), TokenStore(folder / name)) for weight, name in pairs)
    arguments = dict(
        sources=sources, sequence_length=case["seq_length"], batch_size=batch_size, seed=case["seed"],
        order="megatron", total_steps=case["num_samples"] // batch_size,
    )  # fmt: skip
    return Inputs(**arguments | changes)


@pytest.mark.parametrize("batch_size", [1, 8, 200])
def test_a_run_over_a_blend_reads_megatrons_samples(reference, batch_size):
    inputs = blended(reference, batch_size)
    assert np.array_equal(rows(inputs, 200), reference[1]["b1/samples"])


def test_a_blend_tells_the_index_in_each_source_and_finds_it_again(reference):
    inputs = blended(reference, 1)
    blend = Blend(inputs.sources, 200)
    source, within = blend.deal(0, 200)
    assert np.array_equal(source, reference[1]["b1/dataset_index"][:200])
    assert np.array_equal(within, reference[1]["b1/dataset_sample_index"][:200])
    for samples in (0, 1, 77, 200):
        dealt = np.bincount(source[:samples], minlength=3)
        assert blend.counts(samples) == dealt.tolist()
    for t in range(3):
        assert blend.find(t, within[source == t]).tolist() == np.flatnonzero(source == t).tolist()
        assert blend.find(t, np.array([blend.counts(200)[t]])).tolist() == [-1]


def test_blocks_of_a_blend_do_not_show(tmp_path, random_store, monkeypatch):
    sources = [Source(f"s{n}", n**3 + 1, random_store(f"s{n}", documents=3)) for n in range(5)]
    whole = Blend(sources, 1000).deal(0, 1000)
    for samples in (1000, 999):
        shutil.rmtree(next(tmp_path.glob("s0.blend.*")))
        monkeypatch.setattr(indices, "BLEND_BLOCK", 64)
        monkeypatch.setattr("llmjp_jax.inputs.megatron.BLEND_BLOCK", 64)
        blend = Blend(sources, samples)
        for first in (0, 1, 63, 64, 500, 990):
            for ours, expected in zip(blend.deal(first, 9), whole, strict=True):
                assert np.array_equal(ours, expected[first : first + 9])
        for t in range(5):
            wanted = np.flatnonzero(whole[0][:samples] == t)
            assert np.array_equal(blend.find(t, np.arange(len(wanted))), wanted)
        for count in (0, 1, 63, 64, 65, 500, samples):
            assert blend.counts(count) == np.bincount(whole[0][:count], minlength=5).tolist()


def test_hosts_read_what_megatrons_sampler_gives_their_ranks(reference):
    expected, arrays, _ = reference
    samples = arrays["b1/samples"]
    for case in expected["sampler"]:
        size, rank = case["micro_batch"], case["rank"]
        batch_size = size * case["dp_size"]
        inputs = blended(reference, batch_size, total_steps=200 // batch_size)
        # Samples that do not fill a batch are dropped.
        steps = range(case["consumed"] // batch_size, case["total"] // batch_size)
        assert len(case["batches"]) == min(len(steps), 12)
        for step, batch in zip(steps, case["batches"], strict=False):
            tokens = batch_at(inputs, step, slice(rank * size, (rank + 1) * size))["tokens"]
            assert np.array_equal(tokens, samples[batch][:, :-1])


def test_a_step_beyond_the_run_is_refused(reference):
    inputs = blended(reference, 8)
    assert batch_at(inputs, 24)["tokens"].shape == (8, 64)
    with pytest.raises(UserError, match="ends after 200 samples and sample 207 was asked for"):
        batch_at(inputs, 25)


def test_documents_end_where_the_store_says_not_where_a_token_looks_like_an_end(make_store):
    store = make_store("s", [[5, 7, 6], [8, 9, 11, 12]], eod=None)
    inputs = Inputs(
        sources=(Source("s", 1, store),), sequence_length=6, batch_size=1, document_mask=True,
        order="megatron", total_steps=1,
    )  # fmt: skip
    batch, (sample,) = batch_at(inputs, 0), where(inputs, 0)
    first = sample.documents[0]
    assert batch["positions"][0].tolist() == ([0, 1, 2, 0, 1, 2], [0, 1, 2, 3, 0, 1])[first]
    assert batch["loss_weights"][0].tolist() == ([1, 1, 0, 1, 1, 1], [1, 1, 1, 0, 1, 1])[first]


def test_sequences_of_a_document_are_shuffled_apart_and_empty_ones_are_nothing(tmp_path):
    """What Megatron calls a document is a sequence of the .idx, whatever document it belongs to."""
    writer = TokenStoreWriter(tmp_path / "s", np.int32)
    for sequences in ([[], [5, 6], [8]], [], [[9, 10], []], [[11], [12, 13, 14]]):
        writer.add_sequences(sequences)
    writer.commit()
    store = TokenStore(tmp_path / "s")
    inputs = Inputs(
        sources=(Source("s", 1, store),), sequence_length=3, batch_size=1, document_mask=True,
        order="megatron", total_steps=20,
    )  # fmt: skip
    owner = {5: 0, 6: 0, 8: 0, 9: 2, 10: 2, 11: 3, 12: 3, 13: 3, 14: 3}
    following = {(5, 6), (9, 10), (12, 13), (13, 14)}
    everything = [where(inputs, step)[0] for step in range(20)]
    for step, sample in enumerate(everything):
        batch = batch_at(inputs, step)
        ids = [*batch["tokens"][0].tolist(), int(batch["targets"][0, -1])]
        assert sample.documents == list(dict.fromkeys(owner[token] for token in ids))
        joined = [pair in following for pair in zip(ids, ids[1:], strict=False)]
        assert batch["loss_weights"][0].tolist() == joined
    for document in (0, 1, 2, 3):
        found = steps_of_document(inputs, "s", document, range(99))
        assert found == [sample for sample in everything if document in sample.documents]
        for number, token in enumerate(store[document].tolist()):
            found = steps_of_document(inputs, "s", document, range(99), slice(number, number + 1))
            batches = (batch_at(inputs, step) for step in range(20))
            held = [token in batch["tokens"] or token in batch["targets"] for batch in batches]
            assert found == [
                sample for sample, there in zip(everything, held, strict=True) if there
            ]


def test_a_blend_too_short_for_its_reserve_is_refused(random_store):
    sources = tuple(Source(f"s{n}", 1, random_store(f"s{n}", documents=5)) for n in range(7))
    short = dict(sequence_length=100, batch_size=1, order="megatron", total_steps=8)
    refused = 0
    for weights in ([1] * 7, [5, 5, 3, 3, 1, 1, 1], [99, 1, 1, 1, 1, 1, 1]):
        weighted = tuple(Source(s.name, w, s.store) for s, w in zip(sources, weights, strict=True))
        try:
            inputs = Inputs(sources=weighted, **short)
        except UserError as error:
            assert "the blend reads" in str(error)
            refused += 1
        else:
            assert len(rows(inputs, 8)) == 8
    assert refused < 3
