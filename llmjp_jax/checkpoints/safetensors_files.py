"""Safetensors files, read and written one tensor at a time.

The format is an 8-byte length, a JSON header and raw little-endian bytes. The safetensors library maps a whole file for
as long as one tensor is read, and takes all tensors of a file at once to write it; a 13B model on an ordinary host can
afford neither, so the two dozen lines that matter stand here. Knows nothing of models.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import struct
from collections.abc import Iterable
from pathlib import Path

import ml_dtypes
import numpy as np

from llmjp_jax.errors import UserError

DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
_CODES = {dtype: code for code, dtype in DTYPES.items()}
_LONGEST_HEADER = 100_000_000  # bytes; the library's own limit


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies."""

    name: str
    file: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self) -> np.ndarray:
        """The tensor as a read-only view of the file; only the parts that are used are read, until the view is dropped."""
        return np.memmap(self.file, self.dtype, "r", self.offset, self.shape)


def read_header(file: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """The tensors of a file and its metadata.

    Raises:
      UserError: the file is not safetensors, is cut short, or has a dtype that is not supported.
    """

    def damaged(why: str) -> UserError:
        return UserError(
            f"{file} is not a whole safetensors file: {why}; download or copy it again"
        )

    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(size - 8, _LONGEST_HEADER):
            raise damaged("its header goes beyond the end of the file")
        try:
            header = json.loads(stream.read(length))
            metadata = header.pop("__metadata__", {})
            entries = [
                (name, e["dtype"], tuple(e["shape"]), *e["data_offsets"])
                for name, e in header.items()
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise damaged("its header is not a JSON table of tensors") from None
    tensors = {}
    for name, code, shape, begin, end in entries:
        if code not in DTYPES:
            raise UserError(
                f"{file}: tensor {name} has dtype {code}; convert the model to F32, F16 or BF16 first"
            )
        if end - begin != math.prod(shape) * DTYPES[code].itemsize or begin < 0 or end == begin:
            raise damaged(
                f"tensor {name} has {end - begin} bytes for shape {list(shape)} of {code}"
            )
        if 8 + length + end > size:
            raise damaged(f"tensor {name} ends at byte {8 + length + end} of {size}")
        tensors[name] = StoredTensor(name, file, DTYPES[code], shape, 8 + length + begin)
    return tensors, metadata


def read_headers(directory: Path) -> dict[str, StoredTensor]:
    """All tensors of a model's directory: `model.safetensors`, or the shards that its index names.

    Raises:
      UserError: there are no such files, a shard is missing, or the index and the shards differ.
    """
    single, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    if single.is_file():
        return read_header(single)[0]
    if not index.is_file():
        raise UserError(_no_weights(directory))
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(weight_map.values()))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(
            f"{index} is not a safetensors index with a weight_map; copy it again"
        ) from None
    tensors: dict[str, StoredTensor] = {}
    for shard in shards:
        if Path(shard).name != shard or not (directory / shard).is_file():
            raise UserError(
                f"{index} names the shard {shard}, which is not in {directory}; copy it there"
            )
        tensors |= read_header(directory / shard)[0]
    for name, shard in weight_map.items():
        if name not in tensors or tensors[name].file.name != shard:
            raise UserError(
                f"{index} places tensor {name} in {shard}, which lacks it; copy the index and shards again"
            )
    return tensors


def _no_weights(directory: Path) -> str:
    pickles = sorted([*directory.glob("*.bin"), *directory.glob("*.pt"), *directory.glob("*.pth")])
    if pickles:
        return (f"{directory} has weights only as {pickles[0].name}, a pickle, which is never loaded; "
                "save them with transformers' save_pretrained, which writes model.safetensors")  # fmt: skip
    return f"{directory} has no model.safetensors and no model.safetensors.index.json; give a Hugging Face model's directory"


@dataclasses.dataclass(frozen=True)
class Description:
    """A tensor to be written."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def into_shards(tensors: Iterable[Description], max_bytes: int) -> dict[str, list[Description]]:
    """File name → its tensors, in order; a tensor larger than `max_bytes` has a file of its own."""
    shards: list[list[Description]] = [[]]
    filled = 0
    for tensor in tensors:
        if shards[-1] and filled + tensor.nbytes > max_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(tensor)
        filled += tensor.nbytes
    if len(shards) == 1:
        return {"model.safetensors": shards[0]}
    return {
        f"model-{i:05d}-of-{len(shards):05d}.safetensors": shard
        for i, shard in enumerate(shards, 1)
    }


def write_file(
    file: Path, tensors: list[Description], arrays: Iterable[np.ndarray], metadata: dict[str, str]
) -> None:
    """Writes the header and then each array as it comes; `arrays` go with `tensors`, in order."""
    header: dict = {"__metadata__": metadata}
    end = 0
    for tensor in tensors:
        offsets = [end, end + tensor.nbytes]
        header[tensor.name] = {
            "dtype": _CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": offsets,
        }
        end = offsets[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for tensor, array in zip(tensors, arrays, strict=True):
            if array.shape != tensor.shape or array.dtype != tensor.dtype:
                raise ValueError(f"{tensor} was described, {array.dtype} {array.shape} came")
            # A view as bytes: numpy's buffer protocol does not know bfloat16.
            stream.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        stream.flush()
        os.fsync(stream.fileno())
