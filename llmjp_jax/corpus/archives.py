"""Unpacks an archive into a folder of its own, whole or not at all, and lets nothing in it reach outside that folder."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

from llmjp_jax.errors import UserError

_COPY_BYTES = 1 << 20


def unpack_archive(
    archive: str | os.PathLike, folder: str | os.PathLike, *, max_bytes: int | None = None
) -> None:
    """Unpacks a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz into `folder`, replacing what is there.

    Args:
      max_bytes: what the members may hold together; None: what is free on the disk.

    Raises:
      UserError: it is no such archive or a damaged one; a member is a link, a device, or lies outside the folder; the
        members are larger than `max_bytes`. Nothing is left of it then.
    """
    archive, folder = Path(archive), Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if max_bytes is None:
        max_bytes = shutil.disk_usage(folder.parent).free
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=folder.parent) as temporary:
        inside = Path(temporary) / "content"
        inside.mkdir()
        try:
            if zipfile.is_zipfile(archive):
                _unpack_zip(archive, inside, max_bytes)
            else:
                _unpack_tar(archive, inside, max_bytes)
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:  # fmt: skip
            raise UserError(
                f"{archive} cannot be unpacked ({error}); nothing of it was kept"
            ) from None
        if folder.is_dir():
            folder.rename(Path(temporary) / "old")
        inside.rename(folder)


def _unpack_tar(archive: Path, inside: Path, max_bytes: int) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise UserError(
            "this Python cannot unpack archives safely; use 3.11.4, 3.12 or newer, or unpack "
            f"{archive} yourself"
        )
    with tarfile.open(archive) as tar:
        total = 0
        for member in tar:
            total += _allowed(archive, member.name, member.isreg() or member.isdir(), member.size, total, max_bytes)  # fmt: skip
            tar.extract(member, inside, filter="data")


def _unpack_zip(archive: Path, inside: Path, max_bytes: int) -> None:
    with zipfile.ZipFile(archive) as content:
        total = 0
        for member in content.infolist():
            mode = member.external_attr >> 16
            plain = stat.S_IFMT(mode) in (0, stat.S_IFREG, stat.S_IFDIR)
            total += _allowed(archive, member.filename, plain, member.file_size, total, max_bytes)
            target = inside / member.filename
            if member.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            # zipfile stops at the size that the directory states, so a member cannot hold more than was counted.
            with content.open(member) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file, _COPY_BYTES)


def _allowed(archive: Path, name: str, plain: bool, size: int, total: int, max_bytes: int) -> int:
    parts = name.replace("\\", "/").split("/")
    outside = name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\x00" in name
    if not plain or outside:
        what = "lies outside its folder" if outside else "is a link or a device"
        raise UserError(f"{archive}: the member {name!r} {what}; nothing of it was unpacked")
    if total + size > max_bytes:
        raise UserError(
            f"{archive} holds more than {max_bytes:,} bytes, which is all that there is room for; nothing of it was unpacked"
        )
    return size
