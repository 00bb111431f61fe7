"""Our reader and writer of safetensors agree with the library's, and name damaged files."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from llmjp_jax.checkpoints.safetensors_files import (
    Description,
    into_shards,
    read_header,
    read_headers,
    write_file,
)
from llmjp_jax.errors import UserError

DTYPES = (
    np.float64,
    np.float32,
    np.float16,
    ml_dtypes.bfloat16,
    np.int64,
    np.int32,
    np.int8,
    np.uint8,
    np.bool_,
)


def arrays():
    numbers = np.random.default_rng(0).normal(size=(3, 5, 2)) * 10
    return {f"of {np.dtype(dtype)}": numbers.astype(dtype) for dtype in DTYPES} | {
        "scalar": np.float32(3)[...]
    }


def test_files_of_the_library_are_read(tmp_path):
    save_file(arrays(), tmp_path / "x.safetensors", {"format": "pt"})
    tensors, metadata = read_header(tmp_path / "x.safetensors")
    assert metadata == {"format": "pt"} and tensors.keys() == arrays().keys()
    for name, expected in arrays().items():
        read = tensors[name].read()
        assert read.dtype == expected.dtype and read.shape == expected.shape
        assert read.tobytes() == expected.tobytes()


def test_the_library_reads_our_files(tmp_path):
    described = [Description(name, array.dtype, array.shape) for name, array in arrays().items()]
    write_file(tmp_path / "x.safetensors", described, arrays().values(), {"format": "pt"})
    for name, array in load_file(tmp_path / "x.safetensors").items():
        assert array.dtype == arrays()[name].dtype and array.tobytes() == arrays()[name].tobytes()
    with safe_open(tmp_path / "x.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}


def test_transposed_views_are_written_in_order(tmp_path):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    write_file(tmp_path / "x.safetensors", [Description("t", array.dtype, (4, 3))], [array.T], {})
    np.testing.assert_array_equal(load_file(tmp_path / "x.safetensors")["t"], array.T)


def test_writing_another_array_than_described_is_a_defect(tmp_path):
    with pytest.raises(ValueError, match="was described"):
        write_file(
            tmp_path / "x", [Description("t", np.dtype("f4"), (2,))], [np.zeros(3, np.float32)], {}
        )


def test_shards_are_filled_in_order_up_to_the_limit():
    tensors = [Description(str(size), np.dtype("u1"), (size,)) for size in (4, 5, 20, 1, 9, 1)]
    shards = into_shards(tensors, 10)
    assert [[t.name for t in shard] for shard in shards.values()] == [
        ["4", "5"],
        ["20"],
        ["1", "9"],
        ["1"],
    ]
    assert list(shards)[1] == "model-00002-of-00004.safetensors"
    assert list(into_shards(tensors, 40)) == ["model.safetensors"]


def header(entries, data=b""):
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (b"", "header goes beyond"),
        (b"\x00\x01", "header goes beyond"),
        (struct.pack("<Q", 1 << 60) + b"{}", "header goes beyond"),
        (struct.pack("<Q", 4) + b"{{{{", "not a JSON table"),
        (struct.pack("<Q", 2) + b"[]", "not a JSON table"),
        (header({"t": {"dtype": "F32", "shape": [2]}}), "not a JSON table"),
        (
            header({"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"0000"),
            "4 bytes for shape",
        ),
        (
            header({"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, b"0000"),
            "t ends at byte",
        ),
        (
            header({"t": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}, b"0000"),
            "-4|bytes for shape",
        ),
        (
            header({"t": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}, b"0"),
            "dtype F8_E4M3",
        ),
    ],
)
def test_damage_is_named_with_the_file(contents, words, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(contents)
    with pytest.raises(UserError, match=words) as error:
        read_headers(tmp_path)
    assert str(tmp_path / "model.safetensors") in str(error.value)


@pytest.mark.parametrize(
    ("index", "words"),
    [
        ("{}", "not a safetensors index"),
        (
            '{"weight_map": {"t": "a.safetensors", "u": "gone.safetensors"}}',
            "gone.safetensors, which is not in",
        ),
        ('{"weight_map": {"t": "../a.safetensors"}}', "which is not in"),
        ('{"weight_map": {"v": "a.safetensors"}}', "places tensor v in a.safetensors"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_named(index, words, tmp_path):
    save_file({"t": np.zeros(2, np.float32)}, tmp_path / "a.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(UserError, match=words):
        read_headers(tmp_path)
