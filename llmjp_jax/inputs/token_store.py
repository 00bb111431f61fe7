"""Tokenised documents in Megatron's memory-mapped `.bin/.idx` format: reading them.

`PREFIX.bin` is all token ids, one after another. `PREFIX.idx` holds, little-endian and unaligned: `MMIDIDX\\0\\0`, the
version as uint64 (1), a dtype code as uint8, the number of sequences and of document indices as uint64, then each
sequence's length (int32), its first byte in `.bin` (int64), and the sequence with which each document begins (int64,
one more than documents). A store that we built also has `PREFIX.json`, its manifest; one of examples for tuning also
has `PREFIX.mask`, a byte for each token. Needs numpy only. Writing is in `store_writer.py`.
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import json
import os
import struct
from pathlib import Path

import numpy as np

from llmjp_jax.errors import UserError

MAGIC = b"MMIDIDX\x00\x00"
HEADER = struct.Struct("<9sQBQQ")
# Megatron-LM, megatron/data/indexed_dataset.py; its codes 6 and 7 are floating point and never hold tokens.
DTYPES = {1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 8: np.uint16}
DTYPE_CODES = {np.dtype(dtype): code for code, dtype in DTYPES.items()}


def token_dtype(vocab_size: int) -> np.dtype:
    """The type in which Megatron stores ids of a vocabulary: uint16 below 65,500, else int32."""
    return np.dtype(np.uint16 if vocab_size < 65500 else np.int32)


class TokenStore:
    """The documents of one store, as arrays of token ids that the operating system reads when they are touched.

    Opening costs the same for ten documents and for 10^9.

    Args:
      prefix: the path without `.bin` or `.idx`.

    Raises:
      UserError: a file is missing, is not of this format, or the two sizes do not belong together.
    """

    def __init__(self, prefix: str | os.PathLike):
        self.prefix = Path(prefix)
        self._index, self._data = _beside(self.prefix, ".idx"), _beside(self.prefix, ".bin")
        for path in (self._index, self._data):
            if not path.is_file():
                raise UserError(
                    f"there is no file {path}; a token store is a pair of .bin and .idx files: give their common "
                    "prefix, or build the store with tools/cache_tasks.py"
                )
        self.dtype, sequences, boundaries = self._read_header()
        raw = np.memmap(self._index, np.uint8, "r").view(np.ndarray)
        at = HEADER.size
        self._lengths = raw[at : (at := at + 4 * sequences)].view("<i4")
        self._pointers = raw[at : (at := at + 8 * sequences)].view("<i8")
        self._first_sequences = raw[at : at + 8 * boundaries].view("<i8")
        self.num_tokens = self._checked_tokens(sequences)
        self._tokens = np.zeros(0, self.dtype)
        if self.num_tokens:
            self._tokens = np.memmap(self._data, self.dtype, "r").view(np.ndarray)
        self.document_starts = DocumentStarts(
            self._pointers, self._first_sequences, self.dtype.itemsize, self.num_tokens
        )

    def _read_header(self) -> tuple[np.dtype, int, int]:
        """The dtype, the number of sequences and of document boundaries, or a sentence about what is wrong."""
        size = self._index.stat().st_size
        with self._index.open("rb") as file:
            head = file.read(HEADER.size)
        if head[: len(MAGIC)] != MAGIC[: len(head)] or not head:
            raise UserError(
                f"{self._index} is not a Megatron index: it does not begin with {MAGIC!r}; give the prefix of a "
                ".bin/.idx pair"
            )
        if len(head) < HEADER.size:
            raise UserError(f"{self._index} ends inside its header; copy or build the store again")
        _, version, code, sequences, boundaries = HEADER.unpack(head)
        if version != 1:
            raise UserError(
                f"{self._index} has version {version} and only version 1 is known; build the store again"
            )
        if code not in DTYPES:
            raise UserError(
                f"{self._index} names dtype code {code}, which is no integer type; token ids need one of "
                f"{sorted(DTYPES)}"
            )
        expected = HEADER.size + 12 * sequences + 8 * boundaries
        if size != expected or boundaries < 1:
            raise UserError(
                f"{self._index} has {size} bytes, but its header promises {expected}; copy or build the store again"
            )
        return np.dtype(DTYPES[code]).newbyteorder("<"), sequences, boundaries

    def _checked_tokens(self, sequences: int) -> int:
        """The number of tokens, once `.bin`, `.idx` and the document boundaries agree."""
        end = 0
        if sequences:
            end = int(self._pointers[-1]) + int(self._lengths[-1]) * self.dtype.itemsize
        size = self._data.stat().st_size
        if size != end:
            state = "truncated" if size < end else "too long"
            raise UserError(
                f"{self._data} is {state}: it has {size} bytes and {self._index.name} describes {end}; copy or build "
                "the store again"
            )
        first, last = int(self._first_sequences[0]), int(self._first_sequences[-1])
        if first != 0 or last != sequences:
            raise UserError(
                f"{self._index} has documents for sequences {first} to {last} of {sequences}; build the store again"
            )
        return end // self.dtype.itemsize

    def __len__(self) -> int:
        """The number of documents."""
        return len(self._first_sequences) - 1

    def __getitem__(self, document: int) -> np.ndarray:
        """The ids of one document, all its sequences joined: [tokens], read-only."""
        if document < 0:
            document += len(self)
        if not 0 <= document < len(self):
            raise IndexError(f"document {document} of a store of {len(self)}")
        start, stop = self.document_starts[document : document + 2]
        return self._tokens[start:stop]

    @property
    def num_sequences(self) -> int:
        """The number of sequences; a document has one, unless its writer cut it into several."""
        return len(self._lengths)

    def sequence_lengths(self, sequences: np.ndarray) -> np.ndarray:
        """How many tokens each sequence has: int64 of the shape of `sequences`."""
        return self._lengths[sequences].astype(np.int64)

    def sequence_starts(self, sequences: np.ndarray) -> np.ndarray:
        """The token with which each sequence begins: int64 of the shape of `sequences`."""
        return self._pointers[sequences] // self.dtype.itemsize

    def tokens(self, start: int, stop: int) -> np.ndarray:
        """Tokens start..stop-1 of all documents joined: [stop - start], read-only."""
        return self._tokens[start:stop]

    @functools.cached_property
    def manifest(self) -> dict | None:
        """What `tools/cache_tasks.py` wrote about the store; None for a store made by Megatron's own scripts."""
        path = _beside(self.prefix, ".json")
        if not path.is_file():
            return None
        try:
            manifest = json.loads(path.read_bytes())
        except ValueError as error:
            raise UserError(f"{path} is not JSON ({error}); build the store again") from error
        if manifest.get("tokens") != self.num_tokens or manifest.get("documents") != len(self):
            raise UserError(
                f"{path} describes {manifest.get('documents')} documents of {manifest.get('tokens')} tokens and the "
                f"store beside it holds {len(self)} of {self.num_tokens}; build the store again"
            )
        return manifest

    @functools.cached_property
    def fingerprint(self) -> str:
        """A sha256 that changes when the data do, and costs nothing to compute.

        From the manifest: the vocabulary, the counts and the sha256 that the `.bin`, and the `.mask` of a store that
        has one, had when they were built. Without a manifest: the sizes of both files, and the head and the tail of the index.
        """
        if self.manifest is not None:
            parts = [
                self.manifest["vocabulary"]["fingerprint"],
                self.manifest["sha256"],
                len(self),
                self.num_tokens,
            ]
            if "mask_sha256" in self.manifest:
                parts += [self.manifest["mask_sha256"], self.manifest["kind"]]
            return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
        digest = hashlib.sha256(
            f"{self._data.stat().st_size} {self._index.stat().st_size}".encode()
        )
        with self._index.open("rb") as file:
            digest.update(file.read(1 << 16))
            file.seek(max(0, self._index.stat().st_size - (1 << 16)))
            digest.update(file.read())
        return digest.hexdigest()

    @functools.cached_property
    def mask(self) -> np.ndarray | None:
        """1 for each token that is part of a response, else 0: uint8 [num_tokens], read-only; None without `.mask`.

        Raises:
          UserError: it has another length than the store, or is missing though the manifest tells of it.
        """
        path = _beside(self.prefix, ".mask")
        if not path.is_file():
            if "mask_sha256" in (self.manifest or {}):
                raise UserError(
                    f"there is no file {path}, which the store had when it was built; copy or build it again"
                )
            return None
        if path.stat().st_size != self.num_tokens:
            raise UserError(
                f"{path} has {path.stat().st_size} bytes and the store beside it {self.num_tokens} tokens; copy or "
                "build the store again"
            )
        if not self.num_tokens:
            return np.zeros(0, np.uint8)
        return np.memmap(path, np.uint8, "r").view(np.ndarray)

    @functools.cached_property
    def places(self) -> np.ndarray | None:
        """Where each document came from: [documents] of (file, line, offset), or None if the source had no files.

        `file` counts `manifest["sources"]`, `line` counts from 1, `offset` is the line's first byte.
        """
        path = _beside(self.prefix, ".places.npy")
        return np.load(path, mmap_mode="r", allow_pickle=False) if path.is_file() else None


class DocumentStarts:
    """The token with which each document begins, and at the end the number of tokens: an array that is never whole.

    Takes an integer, a slice or an integer array, and gives int64. `np.asarray(starts)` makes it whole.
    """

    def __init__(
        self, pointers: np.ndarray, first_sequences: np.ndarray, itemsize: int, num_tokens: int
    ):
        self._pointers, self._first_sequences = pointers, first_sequences
        self._itemsize, self._num_tokens = itemsize, num_tokens

    def __len__(self) -> int:
        return len(self._first_sequences)

    def __getitem__(self, index):
        sequences = self._first_sequences[index]
        if np.ndim(sequences) == 0:
            past = int(sequences) == len(self._pointers)
            return self._num_tokens if past else int(self._pointers[sequences]) // self._itemsize
        starts = np.full(sequences.shape, self._num_tokens, np.int64)
        inside = sequences < len(self._pointers)
        starts[inside] = self._pointers[sequences[inside]] // self._itemsize
        return starts

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:].astype(dtype or np.int64)

    def document_of(self, token: int) -> int:
        """The document that holds a token."""
        # np.searchsorted would first copy all of an unaligned array, and an .idx is never aligned; this touches only
        # the pages on the way.
        sequence = bisect.bisect_right(self._pointers, token * self._itemsize) - 1
        return self.document_of_sequence(sequence)

    def document_of_sequence(self, sequence: int) -> int:
        """The document that a sequence is part of."""
        return bisect.bisect_right(self._first_sequences, sequence) - 1

    def sequences_of(self, document: int) -> range:
        """The sequences of a document."""
        return range(*self._first_sequences[document : document + 2].tolist())


def _beside(prefix: Path, suffix: str) -> Path:
    """PREFIX.bin and its neighbours; not `with_suffix`, since a prefix may hold dots."""
    return prefix.with_name(prefix.name + suffix)
