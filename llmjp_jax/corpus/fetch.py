"""One file over HTTP: resumed where it broke off, hashed as it arrives, and under its name only when it is whole.

Until then the bytes are in `.NAME.part`, and `.NAME.part.json` beside it says which version of the remote file they are
of. A later run goes on from there if the server still has that version (ETag, Last-Modified, size), and begins anew if not.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmjp_jax.corpus.web import Interruption, Patience, open_url, retried
from llmjp_jax.errors import UserError, place_error
from llmjp_jax.files import atomic_write

_CHUNK_BYTES = 1 << 17  # what a kill may lose


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file to be fetched.

    Attributes:
      url: its address.
      path: where it goes, below the source's folder; see `check_path`.
      sha256: in hexadecimal; None: not known.
      bytes: its size; None: not known.
      unpack: whether it is an archive to be unpacked beside itself.
    """

    url: str
    path: str
    sha256: str | None = None
    bytes: int | None = None
    unpack: bool = False


def check_path(path: str, place: str) -> None:
    """Raises `UserError` unless `path` is relative, plain and stays below its folder. `place` says where it stands."""
    parts = path.split("/")
    if (
        not path
        or path.startswith("/")
        or re.search(r"[\\:\x00-\x1f]", path)
        or any(part == "" or part.startswith(".") for part in parts)
        or path == "SHA256SUMS"
        or any(part.endswith((" ", ".")) for part in parts)
    ):
        raise UserError(
            f"{place}: {path!r} is no plain file name below its folder; correct it (no '..', no leading '/' or '.')"
        )


def partial_path(target: Path) -> Path:
    """Where the bytes of a file are while it is not whole."""
    return target.with_name(f".{target.name}.part")


def fetch_file(
    remote: RemoteFile,
    target: str | os.PathLike,
    *,
    token: str | None = None,
    progress: Callable[[int], None] = lambda count: None,
    patience: Patience = Patience(),
) -> tuple[int, str]:
    """Fetches a file to the path `target`, in place of what is there, and returns its size in bytes and its sha256.

    Args:
      token: sent as a bearer's to the address's own host, never to one that it redirects to.
      progress: called with the number of bytes had since the last call, those of an earlier run included; with a negative
        number when they turn out to be of no use.

    Raises:
      UserError: the server cannot be reached or breaks off again and again, the file has another size or sha256 than
        `remote` says (nothing is kept of it then), or cannot be written.
      Refusal: the server will not give it.
    """
    target = Path(target)
    partial = _Partial(target, remote.url, progress)
    partial.load()
    if not partial.whole:
        retried(
            lambda: _receive(remote, partial, token, patience),
            remote.url,
            patience,
            reached=lambda: partial.length,
        )
    length, sha256 = partial.length, partial.digest.hexdigest()
    if remote.bytes not in (None, length) or remote.sha256 not in (None, sha256):
        partial.discard()
        wanted = f"sha256 {remote.sha256}" if remote.sha256 else f"{remote.bytes:,} bytes"
        raise UserError(
            f"{remote.url} has {length:,} bytes and sha256 {sha256} in place of {wanted}: it is another file than the "
            "manifest names, so nothing of it was kept; try again later, or correct the manifest if the change is meant"
        )
    partial.commit()
    return length, sha256


def _receive(remote: RemoteFile, partial: _Partial, token: str | None, patience: Patience) -> None:
    """One request, whose bytes go into `partial` until it is whole."""
    try:
        with open_url(
            remote.url, token=token, timeout=patience.timeout, headers=partial.request_headers()
        ) as response:
            if response.status_code == 416:  # the file is shorter than what we have: it is another
                partial.discard()
                raise Interruption("the file changed on the server")
            _begin(remote, partial, response)
            for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
                partial.append(chunk)
                if remote.bytes is not None and partial.length > remote.bytes:
                    partial.whole = True  # of another file, perhaps without end: the caller says so
                    return
    finally:
        partial.close()
    total = partial.version["total"]
    if total is not None and partial.length != total:
        raise Interruption(f"the connection ended at byte {partial.length:,} of {total:,}")
    partial.whole = True


def _begin(remote: RemoteFile, partial: _Partial, response: Any) -> None:
    """Makes `partial` ready for the body of `response`: to go on, or to begin anew."""
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity" and not remote.path.endswith(".gz"):
        raise UserError(
            f"{remote.url}: the server sends it encoded as {encoding}, though asked not to; fetch it by other means"
        )
    version = {
        "url": remote.url,
        "etag": response.headers.get("ETag"),
        "last_modified": response.headers.get("Last-Modified"),
        "total": _whole_number(response.headers.get("Content-Length")),
    }
    if response.status_code == 206:
        span = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip()
        )
        version["total"] = _whole_number(span[2]) if span else None
        if not span or int(span[1]) != partial.length or version != partial.version:
            partial.discard()
            raise Interruption("the file changed on the server")
    else:
        partial.begin(version)
    chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
    if version["total"] is None and not chunked and not (remote.bytes or remote.sha256):
        partial.discard()
        raise UserError(
            f"{remote.url}: the server does not say how long the file is, so that a cut one could not be told from a whole "
            "one; give its bytes or sha256 in the manifest"
        )
    if remote.bytes is not None and version["total"] not in (None, remote.bytes):
        partial.discard()
        raise UserError(
            f"{remote.url} has {version['total']:,} bytes in place of {remote.bytes:,}: it is another file than the "
            "manifest names, so nothing was fetched; correct the manifest if the change is meant"
        )


def _whole_number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


class _Partial:
    """The bytes that are there, their hash, and the version of the remote file that they are of."""

    def __init__(self, target: Path, url: str, progress: Callable[[int], None]):
        self._target, self._url, self._progress = target, url, progress
        self._path = partial_path(target)
        self._notes = self._path.with_name(f"{self._path.name}.json")
        self._file = None
        self._forget()

    def _forget(self) -> None:
        self.length, self.digest, self.version, self.whole = 0, hashlib.sha256(), {}, False

    def load(self) -> None:
        """Takes up what an earlier run left, if it says which version of this very address it is."""
        try:
            version = json.loads(self._notes.read_text(encoding="utf-8"))
            size = self._path.stat().st_size
        except (OSError, ValueError):
            return self.discard()
        # A weak ETag is not of bytes. With neither mark another version of the same size would go unnoticed.
        marked = (version.get("etag") or "W/").startswith('"') or version.get("last_modified")
        if version.get("url") != self._url or not marked or size > (version.get("total") or size):
            return self.discard()
        with self._path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                self.digest.update(chunk)
                self.length += len(chunk)
                self._progress(len(chunk))
        self.version = version
        self.whole = version.get("total") == self.length
        return None

    def request_headers(self) -> dict[str, str]:
        if not self.length:
            return {}
        etag = self.version["etag"]
        strong = etag is not None and etag.startswith('"')
        mark = etag if strong else self.version["last_modified"]
        return {
            "Range": f"bytes={self.length}-",
            **({"If-Range": mark} if mark else {}),
        }

    def begin(self, version: dict[str, Any]) -> None:
        self.discard()
        self.version = version
        self._target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(self._notes, "w") as file:
            json.dump(version, file)

    def append(self, chunk: bytes) -> None:
        try:
            if self._file is None:
                self._file = self._path.open("ab", buffering=0)
            view = memoryview(chunk)
            while view:
                written = self._file.write(view)
                self.digest.update(view[:written])
                self.length += written
                self._progress(written)
                view = view[written:]
        except OSError as error:
            raise UserError(self._sentence(error)) from None

    def _sentence(self, error: OSError) -> str:
        error.filename = str(self._target)
        sentence = place_error(error) or f"cannot write to {self._target}: {error}"
        return f"{sentence}; the {self.length:,} bytes fetched so far are kept for the next run"

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def discard(self) -> None:
        self.close()
        self._progress(-self.length)
        # The bytes go first: notes without bytes are harmless.
        self._path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)
        self._forget()

    def commit(self) -> None:
        self.close()
        self._path.touch()  # an empty file has had no chunk
        with self._path.open("rb") as file:
            os.fsync(file.fileno())
        self._path.replace(self._target)
        self._notes.unlink(missing_ok=True)
