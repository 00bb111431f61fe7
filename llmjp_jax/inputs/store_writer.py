"""Writing a token store, so that a process killed at any moment can be started again and lose little.

What is added goes to part files (`PREFIX.bin.part` and its neighbours) that only grow. `save_progress` makes their
present lengths final by one atomic rename; a writer opened with `resume=True` cuts whatever came after it. `commit`
turns the parts into Megatron's files; the `.idx` comes last, so there is no store before it is whole.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write, sha256_file
from llmjp_jax.inputs.token_store import DTYPE_CODES, HEADER, MAGIC

# Where a document stands: which of the sources' files, the line (from 1), and the line's first byte.
PLACE = np.dtype([("file", "<u4"), ("line", "<u4"), ("offset", "<u8")])
_CHUNK = 1 << 22  # rows of an index that are held in memory at a time


class TokenStoreWriter:
    """Appends documents to a store that appears when `commit` is called.

    Args:
      prefix: the path without `.bin` or `.idx`; its folder is made if need be.
      dtype: the integer type of the ids on disk, from `token_dtype`.
      place_dtype: the type of one document's place in the source; None for a store without places.
      resume: go on after the last `save_progress`, if there was one. Otherwise parts left behind are thrown away.
      masked: whether each token comes with a byte of `.mask`, 1 in a response and 0 elsewhere.

    Attributes:
      progress: what the last `save_progress` was given, or None at the start.
      documents, tokens: the counts so far.
    """

    def __init__(
        self,
        prefix: str | os.PathLike,
        dtype,
        place_dtype: np.dtype | None = None,
        resume: bool = False,
        masked: bool = False,
    ):
        self.prefix, self.dtype = Path(prefix), np.dtype(dtype)
        if self.dtype not in DTYPE_CODES:
            raise UserError(
                f"{self.dtype} is no integer type of a token store; use uint16 or int32"
            )
        self.prefix.parent.mkdir(parents=True, exist_ok=True)
        self._place_dtype = None if place_dtype is None else np.dtype(place_dtype)
        # Lengths of sequences as Megatron keeps them; the sequence with which each document ends.
        self._types = {".bin": self.dtype, ".lengths": np.dtype("<i4"), ".ends": np.dtype("<i8")}
        if self._place_dtype is not None:
            self._types[".places"] = self._place_dtype
        self._masked = masked
        if masked:
            self._types[".mask"] = np.dtype(np.uint8)
        self._limits = np.iinfo(self.dtype)
        saved = self._saved() if resume else None
        self.progress: Any = saved["progress"] if saved else None
        self._counts: dict[str, int] = saved["counts"] if saved else dict.fromkeys(self._types, 0)
        self._files = {name: self._open_part(name) for name in self._types}
        for left in self.prefix.parent.glob(f".{self.prefix.name}.*.tmp"):
            left.unlink()  # of a process that was killed while it wrote a small file

    def _path(self, suffix: str) -> Path:
        return self.prefix.with_name(self.prefix.name + suffix)

    def _saved(self) -> dict | None:
        """The last saved progress, if its parts are all there and long enough."""
        path = self._path(".progress.json")
        if not path.is_file():
            return None
        saved = json.loads(path.read_bytes())
        if saved["dtype"] != self.dtype.name or set(saved["counts"]) != set(self._types):
            return None
        for name, count in saved["counts"].items():
            part = self._path(f"{name}.part")
            if not part.is_file() or part.stat().st_size < count * self._types[name].itemsize:
                return None
        return saved

    def _open_part(self, name: str):
        file = self._path(f"{name}.part").open("ab")  # open until commit
        self._lock(file)
        file.truncate(self._counts[name] * self._types[name].itemsize)
        file.seek(0, os.SEEK_END)
        return file

    def _lock(self, file) -> None:
        """Refuses a second process; the lock goes with its holder, killed or not."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise UserError(
                f"another process is building the store {self.prefix}; wait for it, or stop it"
            ) from None

    def restart(self) -> None:
        """Throws away everything added so far."""
        self._path(".progress.json").unlink(missing_ok=True)
        self.progress, self._counts = None, dict.fromkeys(self._types, 0)
        for file in self._files.values():
            file.truncate(0)

    def sha256(self, suffix: str = ".bin") -> str:
        """The sha256 of the ids added so far, as they lie in `.bin`; with ".mask", of the mask."""
        self._files[suffix].flush()
        return sha256_file(self._path(f"{suffix}.part"))

    @property
    def tokens(self) -> int:
        return self._counts[".bin"]

    @property
    def documents(self) -> int:
        return self._counts[".ends"]

    def _append(self, name: str, values: np.ndarray) -> None:
        self._files[name].write(np.ascontiguousarray(values, self._types[name]))
        self._counts[name] += len(values)

    def add(self, ids: Sequence[int] | np.ndarray, place=None, mask=None) -> None:
        """Adds one document of one sequence."""
        ids = np.asarray(ids, np.int64)
        places = None if self._place_dtype is None else np.array([place], self._place_dtype)
        mask = None if mask is None else np.asarray(mask)
        self.add_documents(ids, np.array([len(ids)]), places, mask)

    def add_documents(
        self,
        ids: np.ndarray,
        lengths: np.ndarray,
        places: np.ndarray | None = None,
        mask: np.ndarray | None = None,
    ) -> None:
        """Adds many documents of one sequence each.

        Args:
          ids: all their ids, joined: [tokens].
          lengths: the number of ids of each: [documents].
          places: where each came from: [documents]; required exactly when the writer has a `place_dtype`.
          mask: 0 or 1 for each id: [tokens]; required exactly when the writer is `masked`.
        """
        if (places is None) != (self._place_dtype is None):
            raise ValueError("places are given exactly when the writer has a place_dtype")
        if (mask is None) == self._masked:
            raise ValueError("a mask is given exactly when the writer is masked")
        self._check_range(ids)
        first = self._counts[".lengths"]
        if mask is not None:
            if mask.shape != ids.shape or not np.isin(mask, (0, 1)).all():
                raise ValueError("a mask has a 0 or a 1 for each id")
            self._append(".mask", mask)
        self._append(".bin", ids)
        self._append(".lengths", lengths)
        self._append(".ends", np.arange(first + 1, first + 1 + len(lengths)))
        if places is not None:
            self._append(".places", places)

    def add_sequences(self, sequences: Iterable[Sequence[int] | np.ndarray]) -> None:
        """Adds one document that consists of several sequences, as Megatron's `add_item` and `end_document`."""
        if self._masked:
            raise ValueError("a document with a mask is one sequence; use add")
        for ids in sequences:
            ids = np.asarray(ids, np.int64)
            self._check_range(ids)
            self._append(".bin", ids)
            self._append(".lengths", np.array([len(ids)]))
        self._append(".ends", np.array([self._counts[".lengths"]]))

    def _check_range(self, ids: np.ndarray) -> None:
        if len(ids) and (ids.min() < self._limits.min or ids.max() > self._limits.max):
            raise UserError(
                f"a token id of {self.prefix} lies outside {self.dtype.name} ({ids.min()} to {ids.max()}); write the "
                "store with dtype int32"
            )

    def save_progress(self, progress: Any) -> None:
        """Makes everything added so far, and `progress` (any JSON), survive a kill."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        saved = {"dtype": self.dtype.name, "counts": self._counts, "progress": progress}
        with atomic_write(self._path(".progress.json")) as file:
            file.write(json.dumps(saved).encode())
        self.progress = progress

    def commit(self, manifest: dict | None = None) -> None:
        """Turns the parts into the store, with `manifest` as its `.json`, and removes what is no longer needed."""
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        # With the old index gone there is no store until the new one is whole.
        self._path(".idx").unlink(missing_ok=True)
        if self._place_dtype is not None:
            self._write_places()
        else:
            self._path(".places.npy").unlink(missing_ok=True)
        if manifest is None:
            self._path(".json").unlink(missing_ok=True)
        else:
            with atomic_write(self._path(".json")) as file:
                file.write(json.dumps(manifest, ensure_ascii=False, indent=1).encode() + b"\n")
        with atomic_write(self._path(".idx.new")) as file:
            self._write_index(file)
        self._path(".bin.part").replace(self._path(".bin"))
        if self._masked:
            self._path(".mask.part").replace(self._path(".mask"))
        else:
            self._path(".mask").unlink(missing_ok=True)
        self._path(".idx.new").replace(self._path(".idx"))
        self.discard()

    def discard(self) -> None:
        """Closes and removes the part files."""
        self.close()
        self._path(".progress.json").unlink(missing_ok=True)
        for name in self._types:
            self._path(f"{name}.part").unlink(missing_ok=True)

    def close(self) -> None:
        """Closes the part files and leaves them for a later `resume`."""
        for file in self._files.values():
            file.close()

    def _part(self, name: str) -> np.ndarray:
        if not self._counts[name]:
            return np.zeros(0, self._types[name])
        return np.memmap(self._path(f"{name}.part"), self._types[name], "r")

    def _write_index(self, file) -> None:
        lengths, ends = self._part(".lengths"), self._part(".ends")
        file.write(HEADER.pack(MAGIC, 1, DTYPE_CODES[self.dtype], len(lengths), len(ends) + 1))
        for i in range(0, len(lengths), _CHUNK):
            file.write(lengths[i : i + _CHUNK].tobytes())
        offset = 0
        for i in range(0, len(lengths), _CHUNK):
            stops = (
                offset + np.cumsum(lengths[i : i + _CHUNK], dtype=np.int64) * self.dtype.itemsize
            )
            file.write(np.concatenate([[offset], stops[:-1]]).astype("<i8").tobytes())
            offset = int(stops[-1])
        file.write(np.zeros(1, "<i8").tobytes())
        for i in range(0, len(ends), _CHUNK):
            file.write(ends[i : i + _CHUNK].tobytes())

    def _write_places(self) -> None:
        places = self._part(".places")
        with atomic_write(self._path(".places.npy")) as file:
            header = np.lib.format.header_data_from_array_1_0(places)
            np.lib.format.write_array_header_1_0(file, header)
            for i in range(0, len(places), _CHUNK):
                file.write(places[i : i + _CHUNK].tobytes())


def describe_source(path: str | os.PathLike) -> dict[str, Any]:
    """What tells one version of a source file from another without reading it, for a manifest.

    Raises:
      UserError: there is no such file.
    """
    try:
        status = Path(path).stat()
    except FileNotFoundError:
        raise UserError(
            f"there is no file {path}; prepare the corpus first, or correct the path"
        ) from None
    return {"path": str(path), "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
