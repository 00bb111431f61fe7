"""Which files a source has, where its own server must be asked: data sets on Hugging Face, GitLab projects, Common Crawl.

Hugging Face and GitLab keep large files in Git LFS, whose pointers name size and sha256: so both are known before the first
byte of data, though no manifest has them. What a server lists is not trusted: every path is checked as a manifest's is.
"""

from __future__ import annotations

import fnmatch
import gzip
import json
import posixpath
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urljoin

from llmjp_jax.corpus.fetch import RemoteFile, check_path
from llmjp_jax.corpus.sources import Source
from llmjp_jax.corpus.web import Interruption, Patience, check_url, open_url, retried
from llmjp_jax.errors import UserError

_PAGE_BYTES = 1 << 26  # no listing's page is larger
_PAGES = 10_000
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:ext-.*\n)*oid sha256:([0-9a-f]{64})\nsize (\d+)\n"
)


def list_files(
    source: Source,
    *,
    token: str | None = None,
    include: str | None = None,
    max_files: int | None = None,
    patience: Patience = Patience(),
    progress: Callable[[int], None] = lambda count: None,
) -> list[RemoteFile]:
    """The files of a source, in the order of their paths; of a manifest's own list, in its order.

    Args:
      token: for the server that is asked.
      include: only files whose paths match this pattern, in which `*` stands for anything, `/` too.
      max_files: the first so many.
      progress: called with 1 for each file that is known.

    Raises:
      UserError: the server cannot be reached, answers something else, or nothing matches.
    """
    if source.repository is not None:
        files = _repository_files(source, token, include, max_files, patience, progress)
    elif source.warc_paths is not None:
        files = _warc_files(source.warc_paths, patience)
    else:
        files = list(source.files)
    files = [file for file in files if include is None or fnmatch.fnmatchcase(file.path, include)]
    if not files and include is not None:
        raise UserError(f"{source.name} has no file that matches --include={include}; correct it")
    if not files:
        raise UserError(f"{source.place}: the server lists no such file; correct the manifest")
    return files[:max_files]


def _repository_files(
    source: Source,
    token: str | None,
    include: str | None,
    max_files: int | None,
    patience: Patience,
    progress: Callable[[int], None],
) -> list[RemoteFile]:
    repository = source.repository
    site, revision = repository.site, quote(repository.revision, safe="")
    folder = quote(_common_folder(repository.include))
    if repository.host == "huggingface":
        tree = f"{site}/api/datasets/{repository.name}/tree/{revision}"
        first = f"{tree}{folder and '/' + folder}?recursive=true"
        kind, file_url = "file", f"{site}/datasets/{repository.name}/resolve/{revision}/"
    else:
        project = f"{site}/api/v4/projects/{quote(repository.name, safe='')}/repository"
        first = f"{project}/tree?recursive=true&per_page=100&ref={revision}&path={folder}"
        kind, file_url = "blob", f"{site}/{repository.name}/-/raw/{revision}/"
    entries = {}
    for entry in _pages(first, source.place, token, patience):
        path = str(entry.get("path"))
        wanted = any(fnmatch.fnmatchcase(path, pattern) for pattern in repository.include)
        if entry.get("type") == kind and wanted and fnmatch.fnmatchcase(path, include or "*"):
            check_path(path, first)
            entries[path] = entry
    files = []
    for path in sorted(entries)[:max_files]:
        if repository.host == "huggingface":
            size, sha256 = _huggingface_size(entries[path])
        else:
            # Without `lfs=true` GitLab sends the pointer of a file that is in LFS, and any other file itself.
            address = f"{project}/files/{quote(path, safe='')}/raw?ref={revision}"
            size, sha256 = _pointed(_get(address, token, patience, limit=4096)[0])
        files.append(RemoteFile(url=file_url + quote(path), path=path, sha256=sha256, bytes=size))
        progress(1)
    return files


def _common_folder(patterns: tuple[str, ...]) -> str:
    """The folder below which everything lies that matches one of the patterns; "": the root."""
    folders = [re.split(r"[*?\[]", pattern)[0].rpartition("/")[0] for pattern in patterns]
    return "" if "" in folders else posixpath.commonpath(folders)


def _huggingface_size(entry: dict[str, Any]) -> tuple[int | None, str | None]:
    lfs = entry.get("lfs") or {}
    sha256 = lfs.get("oid")
    return lfs.get("size", entry.get("size")), sha256 if _is_sha256(sha256) else None


def _is_sha256(text: Any) -> bool:
    return isinstance(text, str) and re.fullmatch("[0-9a-f]{64}", text) is not None


def _pointed(content: bytes) -> tuple[int | None, str | None]:
    match = _POINTER.match(content)
    return (int(match[2]), match[1].decode()) if match else (None, None)


def _pages(
    address: str | None, place: str, token: str | None, patience: Patience
) -> Iterator[dict[str, Any]]:
    """The entries of a listing, page after page; a page's header `Link` names the next."""
    for _ in range(_PAGES):
        if address is None:
            return
        content, following = _get(address, token, patience, limit=_PAGE_BYTES)
        try:
            entries = json.loads(content)
        except ValueError:
            entries = None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise UserError(
                f"{place}: {address} answers something else than a list of files; fetch them by other means, and tell us"
            )
        yield from entries
        address = urljoin(address, following) if following else None
        if address is not None:
            check_url(address, place)


def _warc_files(address: str, patience: Patience) -> list[RemoteFile]:
    """Common Crawl's list of a crawl: gzip, one path a line, below the server's root; sizes are not in it."""
    content, _ = _get(address, None, patience, limit=_PAGE_BYTES)
    try:
        lines = gzip.decompress(content).decode("ascii").splitlines()
    except (OSError, EOFError, UnicodeDecodeError, zlib.error):
        raise UserError(f"{address} is not a list of paths; check the crawl's name") from None
    files = []
    for line in lines:
        check_path(line, address)
        files.append(RemoteFile(url=urljoin(address, f"/{quote(line)}"), path=line.rsplit("/", 1)[-1]))  # fmt: skip
    return files


def _get(
    address: str, token: str | None, patience: Patience, limit: int
) -> tuple[bytes, str | None]:
    """At most the first `limit` bytes of an answer, and the address of the page after it."""

    def attempt() -> tuple[bytes, str | None]:
        with open_url(address, token=token, timeout=patience.timeout) as response:
            content = response.raw.read(limit, decode_content=True)
            return content, response.links.get("next", {}).get("url")

    return retried(attempt, address, patience)


def remote_size(file: RemoteFile, token: str | None, patience: Patience) -> int | None:
    """What the server says of a file's size without sending it; None: nothing, or the server does not answer such questions."""
    try:
        with open_url(file.url, token=token, timeout=patience.timeout, method="HEAD") as response:
            length = response.headers.get("Content-Length", "")
            return int(length) if length.isdigit() else None
    except (UserError, OSError, Interruption):
        return None  # the download itself will say what is wrong
