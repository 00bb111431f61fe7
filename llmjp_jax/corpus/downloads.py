"""A source into its folder DIR/NAME: what it is and under which licence comes first, then what is missing is fetched.

In DIR/NAME, besides the files: `SHA256SUMS`, in the format of `sha256sum -c`, to be pinned in a manifest or given to others,
against which a later download is checked; `.records.json`, sizes and times of finished files, by which a second run knows
that there is nothing to do; `.lock`, held while a download runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llmjp_jax.corpus.archives import unpack_archive
from llmjp_jax.corpus.fetch import RemoteFile, fetch_file, partial_path
from llmjp_jax.corpus.listings import list_files, remote_size
from llmjp_jax.corpus.manifests import load_manifest
from llmjp_jax.corpus.sdist import fetch_sdist
from llmjp_jax.corpus.sources import Source
from llmjp_jax.corpus.web import Patience, Refusal
from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write, sha256_file

SUMS, _RECORDS, _LOCK = "SHA256SUMS", ".records.json", ".lock"
_ASKED_SIZES = 32  # no more servers' answers than these are worth waiting for


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What a download is about to do.

    Attributes:
      missing: the files to fetch; `done`: how many are there already.
      known_bytes: of the missing files whose size is known; `unknown`: how many have none.
    """

    missing: tuple[RemoteFile, ...]
    done: int
    known_bytes: int
    unknown: int


def download(
    source: Source,
    output_dir: str | os.PathLike,
    *,
    confirm: Callable[[Plan], bool],
    report: Callable[[str], None] = print,
    include: str | None = None,
    max_files: int | None = None,
    environment: Mapping[str, str] = os.environ,
    patience: Patience = Patience(),
) -> list[Path]:
    """Fetches what is missing of a source into output_dir/NAME and returns the paths of all its files.

    Args:
      confirm: asked once the licence was reported, before the first byte of data; False: nothing is fetched.
      report: takes lines for the user; the licence is in the first.
      include, max_files: as `list_files`.
      environment: where a gated source's token is looked up.

    Raises:
      UserError: as `fetch_file`, `list_files` and `unpack_archive`; the source is to be got by hand; another download into
        this folder runs; there is no room; `confirm` said no.
    """
    folder = Path(output_dir) / source.name
    report(describe(source))
    token = environment.get(source.token) if source.token else None
    unreachable = source.by_hand or (source.gated and not token)
    if unreachable and (placed := _placed(folder, report)):
        return placed
    if source.by_hand:
        raise UserError(
            f"{source.name} is not for a program to download: {source.by_hand}; what you have goes into {folder}, and this "
            "command then shows its sha256"
        )
    if source.gated and not token:
        raise UserError(
            f"{source.name} is gated: {source.gated}; then set {source.token} to a token of that account, and run again"
        )
    with _locked(folder):
        if source.sdist is not None:
            return [_fetch_sdist(source, folder, confirm)]
        with _explained(source):
            files = list_files(
                source, token=token, include=include, max_files=max_files, patience=patience
            )
            book = _Book(folder)
            files = [book.expected(file, source.place) for file in files]
            missing = [file for file in files if not book.has(file)]
            if not missing:
                report(f"{folder}: all {len(files)} files are there")
            else:
                plan = _plan(missing, len(files) - len(missing), token, patience)
                _check_room(plan, folder)
                if not confirm(plan):
                    raise UserError(f"{source.name} was not downloaded, as you did not say yes")
                _fetch(missing, book, plan, token, patience, report)
        for file in files:
            if file.unpack:
                _unpack(folder / file.path, book)
    return [folder / file.path for file in files]


def describe(source: Source) -> str:
    """What a source is, its licence and its home, in lines."""
    lines = [f"{source.name}: {source.title}", f"  licence: {source.licence}", f"  home:    {source.home}"]  # fmt: skip
    lines += [f"  {name}: {value}" for name, value in source.parameters.items()]
    if source.note:
        lines.append(f"  note:    {source.note}")
    return "\n".join(lines)


def size_in_words(count: int) -> str:
    """`1.7 MB`: decimal units, as the issue and the servers count."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.5 else f"{value:.2g} {unit}"


def _placed(folder: Path, report: Callable[[str], None]) -> list[Path]:
    """The files that the user has put into a source's folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name[0] != ".")
    for path in files:
        report(f"{path}: {path.stat().st_size:,} bytes, sha256 {sha256_file(path)}")
    return files


def _fetch_sdist(source: Source, folder: Path, confirm: Callable[[Plan], bool]) -> Path:
    entry = load_manifest(source.sdist["manifest"])[source.sdist["table"]]
    fields = {field: entry[field] for field in ("package", "version", "archive", "sha256")}
    path = folder / entry["archive"]
    if not (path.is_file() and sha256_file(path) == entry["sha256"]):
        file = RemoteFile(url="pip", path=path.name, sha256=entry["sha256"], bytes=entry["bytes"])
        plan = Plan(missing=(file,), done=0, known_bytes=entry["bytes"], unknown=0)
        _check_room(plan, folder)
        if not confirm(plan):
            raise UserError(f"{source.name} was not downloaded, as you did not say yes")
    return fetch_sdist(folder, **fields)


def _plan(missing: list[RemoteFile], done: int, token: str | None, patience: Patience) -> Plan:
    sizes = [file.bytes for file in missing]
    if sizes.count(None) <= _ASKED_SIZES:
        quick = dataclasses.replace(patience, timeout=min(patience.timeout, 20))
        sizes = [
            remote_size(file, token, quick) if size is None else size
            for file, size in zip(missing, sizes, strict=True)
        ]
    known = [size for size in sizes if size is not None]
    return Plan(
        missing=tuple(missing), done=done, known_bytes=sum(known), unknown=sizes.count(None)
    )


def _check_room(plan: Plan, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    begun = [partial_path(folder / file.path) for file in plan.missing]
    needed = plan.known_bytes - sum(path.stat().st_size for path in begun if path.is_file())
    if needed > free:
        raise UserError(
            f"{folder} has room for {size_in_words(free)}, and the download takes {size_in_words(needed)}; make "
            "room, or give another --output_dir"
        )


def _fetch(
    missing: list[RemoteFile],
    book: _Book,
    plan: Plan,
    token: str | None,
    patience: Patience,
    report: Callable[[str], None],
) -> None:
    from tqdm import tqdm

    total = None if plan.unknown else plan.known_bytes
    with tqdm(total=total, unit="B", unit_scale=True, smoothing=0.1, mininterval=0.5) as bar:
        for number, file in enumerate(missing, 1):
            bar.set_description(f"{number}/{len(missing)} {Path(file.path).name}")
            target = book.folder / file.path
            if not target.parent.resolve().is_relative_to(book.folder.resolve()):
                raise UserError(f"{target.parent} leads outside {book.folder}; remove the link")
            size, sha256 = fetch_file(
                file, target, token=token, progress=bar.update, patience=patience
            )
            book.record(file.path, size, sha256)
            if file.sha256 is None:
                with tqdm.external_write_mode():
                    report(f"{file.path}: {size:,} bytes, sha256 {sha256} (the manifest has none to compare)")  # fmt: skip


def _unpack(archive: Path, book: _Book) -> None:
    folder = archive.with_name(re.sub(r"(\.tar)?\.[A-Za-z0-9]+$", "", archive.name) + ".unpacked")
    name = archive.relative_to(book.folder).as_posix()
    if not (folder.is_dir() and book.unpacked(name)):
        unpack_archive(archive, folder)
        book.record_unpacked(name)


@contextlib.contextmanager
def _explained(source: Source) -> Iterator[None]:
    """Adds to a server's refusal what the manifest says of it."""
    try:
        yield
    except Refusal as refusal:
        advice = "see its home page"
        if refusal.status in (404, 410) and source.gone:
            advice = source.gone
        elif refusal.status in (401, 403) and source.gated:
            advice = f"{source.gated}; the token in {source.token} must be of that account"
        elif refusal.status in (401, 403):
            advice = f"see {source.home} for who may have it"
        raise UserError(f"{source.name}: {refusal}; {advice}") from None


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    import fcntl

    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another download into {folder} runs; wait for its end") from None
        yield


class _Book:
    """What is known of a folder's files: their sha256 from `SHA256SUMS`, and that they were whole at some size and time."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._sums = self._read_sums()
        try:
            records = json.loads((folder / _RECORDS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            records = {}
        self._records: dict[str, Any] = records if isinstance(records, dict) else {}

    def _read_sums(self) -> dict[str, str]:
        path = self.folder / SUMS
        if not path.is_file():
            return {}
        sums = {}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            match = re.fullmatch(r"([0-9a-f]{64}) [ *](.+)", line)
            if not match:
                raise UserError(f"{path}, line {number} is not '<sha256>  <file>'; correct it or remove the file")  # fmt: skip
            sums[match[2]] = match[1]
        return sums

    def expected(self, file: RemoteFile, place: str) -> RemoteFile:
        """The file with the sha256 that it has to have: the manifest's or server's list's, else that of `SHA256SUMS`."""
        seen = self._sums.get(file.path)
        if seen and file.sha256 and seen != file.sha256:
            raise UserError(
                f"{self.folder / SUMS} has {seen} for {file.path} where {place} has {file.sha256}: the remote file changed, or "
                f"the manifest; remove that line to fetch it anew"
            )
        return dataclasses.replace(file, sha256=file.sha256 or seen)

    def has(self, file: RemoteFile) -> bool:
        """Whether the whole file is there. It is read only if it was touched since it was recorded."""
        path = self.folder / file.path
        if file.sha256 is None or not path.is_file():
            return False
        stamp = [path.stat().st_size, path.stat().st_mtime_ns, file.sha256]
        if self._records.get(file.path) == stamp:
            return True
        if file.bytes not in (None, stamp[0]) or sha256_file(path) != file.sha256:
            return False
        self.record(file.path, stamp[0], file.sha256)
        return True

    def record(self, path: str, size: int, sha256: str) -> None:
        self._sums[path] = sha256
        self._records[path] = [size, (self.folder / path).stat().st_mtime_ns, sha256]
        with atomic_write(self.folder / SUMS, "w") as file:
            file.writelines(f"{self._sums[name]}  {name}\n" for name in sorted(self._sums))
        self._save()

    def unpacked(self, path: str) -> bool:
        return self._records.get(f"{path} unpacked") == self._sums[path]

    def record_unpacked(self, path: str) -> None:
        self._records[f"{path} unpacked"] = self._sums[path]
        self._save()

    def _save(self) -> None:
        with atomic_write(self.folder / _RECORDS, "w") as file:
            json.dump(self._records, file, indent=0, sort_keys=True)
