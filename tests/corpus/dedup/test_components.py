import numpy as np
import pytest

from llmjp_jax.corpus.dedup.components import connected_components
from llmjp_jax.corpus.dedup.frequencies import SortedTable
from llmjp_jax.corpus.dedup.near_paragraphs import PAIRS, rotate_right, rotations

from .test_simhash import components


def grouped(pairs, folder, memory_bytes=64 << 20, step=50):
    records = np.array([tuple(pair) for pair in pairs], PAIRS)
    blocks = [records[start : start + step] for start in range(0, len(records), step)]
    return [
        tuple(member)
        for block in connected_components(blocks, folder, memory_bytes)
        for member in block.tolist()
    ]


@pytest.mark.parametrize("memory_bytes", [600, 64 << 20])
@pytest.mark.parametrize("edges", [60, 200, 500])
def test_groups_are_connected_components_named_by_their_least(tmp_path, memory_bytes, edges):
    pairs = np.random.default_rng(edges).integers(0, 400, (edges, 2)).tolist()
    nodes = sorted({node for pair in pairs if pair[0] != pair[1] for node in pair})
    groups = components(pairs, 400)
    assert grouped(pairs, tmp_path, memory_bytes) == [(node, groups[node]) for node in nodes]


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_long_path_is_one_group(tmp_path, shuffled):
    names = np.arange(1, 2001)
    if shuffled:
        np.random.default_rng(0).shuffle(names)
    pairs = list(zip(names[:-1].tolist(), names[1:].tolist(), strict=True))
    assert grouped(pairs, tmp_path) == [(node, 1) for node in range(1, 2001)]


def test_hashes_of_all_64_bits_are_kept(tmp_path):
    most = 2**64 - 1
    assert grouped([(most, most - 1), (5, most)], tmp_path) == [(5, 5), (most - 1, 5), (most, 5)]


def test_no_pairs_no_groups(tmp_path):
    assert list(connected_components([], tmp_path)) == []


def test_a_table_is_walked_once_whatever_the_blocks():
    records = np.array([(1, 10), (4, 40), (5, 50), (9, 90)], [("key", "<u8"), ("value", "<u8")])
    for cuts in ([], [1], [2, 3], [1, 2, 3]):
        table = SortedTable(iter(np.split(records, cuts)), "key", "value")
        for keys, expected in (
            ([0, 1, 1], [0, 10, 10]),
            ([1, 4, 6], [10, 40, 0]),
            ([9, 12], [90, 0]),
        ):
            values, found = table.find(np.array(keys, np.uint64))
            assert values.tolist() == expected
            assert found.tolist() == [value > 0 for value in expected]


@pytest.mark.parametrize("shift", [0, 1, 35, 63, 64, 85, 127])
def test_rotation_turns_the_whole_signature(shift):
    value = 0x0123456789ABCDEF_FEDCBA9876543211
    high, low = np.array([value >> 64], np.uint64), np.array([value % 2**64], np.uint64)
    high, low = rotate_right(high, low, shift)
    assert int(high[0]) << 64 | int(low[0]) == (value >> shift | value << (128 - shift)) % 2**128


def test_rotations_are_uzushios():
    assert rotations(5) == (35, 44, 72, 85, 110)
    assert rotations(128) == tuple(range(128))
