"""Tatoeba's sentences: one document each, with its id and licence, out of the very archive that the manifest names."""

import hashlib
import io
import tarfile

import pytest

from llmjp_jax.corpus.readers.broken import BrokenRecord
from llmjp_jax.corpus.readers.tatoeba import read_tatoeba, tatoeba_rows
from llmjp_jax.errors import UserError


def test_every_sentence_is_a_document(source):
    manifest = source.manifest["tatoeba"]
    japanese = list(read_tatoeba(source.archive, language="ja", manifest=manifest))
    english = list(read_tatoeba(source.archive, language="en", manifest=manifest))
    assert len(japanese) == 399
    assert len(english) == 398  # one has no translation
    assert japanese[0] == (
        "line 1",
        {
            "text": "私は学生です。",
            "meta": {"id": "tatoeba/1/ja", "source": "tatoeba", "licence": "CC-BY-2.0-FR"},
        },
    )
    assert english[1][1]["meta"]["id"] == "tatoeba/2/en"
    assert [row for _, row in tatoeba_rows(source.archive, manifest)][2] == (
        "3",
        "水をください。",
        None,
    )


def test_a_row_without_columns_is_broken(tmp_path):
    table = b"1\tA\ta\nbroken\n2\tB\t-\n"
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo("a/table")
        info.size = len(table)
        tar.addfile(info, io.BytesIO(table))
    manifest = {
        "licence": "none",
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "member": "a/table",
        "member_sha256": hashlib.sha256(table).hexdigest(),
    }
    found = dict(read_tatoeba(archive, language="ja", manifest=manifest))
    assert list(found) == ["line 1", "line 2", "line 3"]
    assert isinstance(found["line 2"], BrokenRecord)
    assert "1 columns" in found["line 2"].reason


def test_another_archive_and_another_language_are_refused(source):
    manifest = source.manifest["tatoeba"]
    with pytest.raises(UserError, match="language is 'fr'"):
        next(read_tatoeba(source.archive, language="fr", manifest=manifest))
    with source.archive.open("ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="damaged or another file"):
        next(read_tatoeba(source.archive, language="ja", manifest=manifest))
