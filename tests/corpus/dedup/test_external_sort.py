import numpy as np
import pytest

from llmjp_jax.corpus.dedup.external_sort import ExternalSort

DTYPE = np.dtype([("a", "<u8"), ("b", "<i4"), ("serial", "<u4")])


def random_records(count, most, seed=0):
    random = np.random.default_rng(seed)
    records = np.empty(count, DTYPE)
    records["a"] = random.integers(0, most, count, np.uint64, endpoint=True)
    records["b"] = random.integers(-3, 3, count)
    records["serial"] = np.arange(count)
    return records


def sorted_by(records, keys, folder, memory_bytes, step=97):
    with ExternalSort(DTYPE, keys, folder, memory_bytes) as sort:
        for start in range(0, len(records), step):
            sort.add(records[start : start + step])
        return list(sort.blocks())


@pytest.mark.parametrize("memory_bytes", [64, 1 << 10, 16 << 10, 64 << 20])
@pytest.mark.parametrize("most", [3, 2**64 - 1])
@pytest.mark.parametrize("keys", [("a",), ("a", "b"), ("b", "a")])
def test_the_order_is_that_of_a_stable_sort_in_memory(tmp_path, memory_bytes, most, keys):
    records = random_records(3000 if memory_bytes > 64 else 400, most)
    blocks = sorted_by(records, keys, tmp_path, memory_bytes)
    expected = records[np.lexsort([records[key] for key in reversed(keys)])]
    np.testing.assert_array_equal(np.concatenate(blocks), expected)


def test_equal_records_come_in_the_order_they_were_added_through_many_passes(tmp_path):
    records = random_records(5000, 0)
    records["b"] = 0
    blocks = sorted_by(records, ("a", "b"), tmp_path, 256)
    np.testing.assert_array_equal(np.concatenate(blocks)["serial"], np.arange(5000))


def test_no_block_is_larger_than_the_memory_given(tmp_path):
    memory_bytes = 32 << 10
    blocks = sorted_by(random_records(50_000, 2**64 - 1), ("a",), tmp_path, memory_bytes)
    assert len(blocks) > 10
    assert max(block.nbytes for block in blocks) <= memory_bytes


def test_nothing_stays_on_disk_when_the_blocks_were_read_or_the_sort_was_left(tmp_path):
    sorted_by(random_records(2000, 5), ("a",), tmp_path, 1024)
    assert list(tmp_path.iterdir()) == []
    with ExternalSort(DTYPE, ("a",), tmp_path, 1024) as sort:
        sort.add(random_records(2000, 5))
        blocks = sort.blocks()
        next(blocks)
        assert list(tmp_path.iterdir()) != []
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_sort_left_changes_nothing(tmp_path):
    killed = ExternalSort(DTYPE, ("a",), tmp_path, 1024)
    killed.add(random_records(2000, 5, seed=1))
    assert list(tmp_path.iterdir()) != []
    records = random_records(2000, 5)
    again = np.concatenate(sorted_by(records, ("a",), tmp_path, 1024))
    np.testing.assert_array_equal(again, records[np.argsort(records["a"], kind="stable")])


def test_records_may_be_changed_after_they_were_added(tmp_path):
    records = random_records(10, 100)
    kept = records.copy()
    with ExternalSort(DTYPE, ("a",), tmp_path) as sort:
        sort.add(records)
        records["a"] = 0
        (block,) = sort.blocks()
    np.testing.assert_array_equal(np.sort(block["a"]), np.sort(kept["a"]))


def test_an_empty_sort_has_no_blocks(tmp_path):
    assert sorted_by(random_records(0, 1), ("a",), tmp_path, 1024) == []


def test_a_key_that_is_no_numeric_field_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'c' is no numeric field"):
        ExternalSort(DTYPE, ("c",), tmp_path)
