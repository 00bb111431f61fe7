import numpy as np
import pytest

from llmjp_jax.corpus.dedup.shuffle import ShuffleWriter, partition_of, read_sections

DTYPE = np.dtype([("value", "<u8"), ("blob_bytes", "<u4")])


def records_of(values):
    records = np.zeros(len(values), DTYPE)
    records["value"] = values
    return records


@pytest.mark.parametrize("memory_bytes", [1, 500, 1 << 20])
def test_each_receiver_gets_its_records_and_blobs_in_the_order_they_were_sent(
    tmp_path, memory_bytes
):
    random = np.random.default_rng(0)
    receivers = random.integers(0, 5, 300)
    blobs = [
        b"x" * int(size) + str(i).encode() for i, size in enumerate(random.integers(0, 9, 300))
    ]
    path = tmp_path / "00000"
    with ShuffleWriter(path, 6, DTYPE, memory_bytes=memory_bytes, blobs=True) as writer:
        for start in range(0, 300, 40):
            part = slice(start, start + 40)
            writer.add(receivers[part], records_of(np.arange(300)[part]), blobs[part])
    for receiver in range(6):
        sections = list(read_sections(path, receiver, DTYPE))
        values = [int(value) for records, _ in sections for value in records["value"]]
        assert values == [int(i) for i in np.flatnonzero(receivers == receiver)]
        assert b"".join(text for _, text in sections) == b"".join(blobs[i] for i in values)
        for records, text in sections:
            assert records["blob_bytes"].sum() == len(text)


def test_an_empty_shuffle_can_be_read(tmp_path):
    with ShuffleWriter(tmp_path / "00000", 3, DTYPE):
        pass
    assert list(read_sections(tmp_path / "00000", 2, DTYPE)) == []


def test_a_shuffle_that_fails_leaves_nothing(tmp_path):
    with (
        pytest.raises(RuntimeError),
        ShuffleWriter(tmp_path / "00000", 3, DTYPE, memory_bytes=1) as writer,
    ):
        writer.add(np.array([0]), records_of([1]))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_partitions_are_equal_slices_of_the_range_of_hashes_in_order():
    hashes = np.array([0, 2**62 - 1, 2**62, 2**63, 2**64 - 1], np.uint64)
    assert partition_of(hashes, 4).tolist() == [0, 0, 1, 2, 3]
    assert partition_of(hashes, 1).tolist() == [0] * 5
