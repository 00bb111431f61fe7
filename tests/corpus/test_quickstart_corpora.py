"""The quick start's corpora: what becomes a document, which split it falls in, and what a failure leaves."""

import json
import subprocess
import sys

import pytest

from llmjp_jax.corpus import build_quickstart_corpora, quickstart, read_documents, split_of
from llmjp_jax.errors import UserError
from llmjp_jax.files import repository_root

FILES = [
    f"{name}/{split}.jsonl" for name in ("ja", "en", "code") for split in ("train", "validation")
]


@pytest.fixture(autouse=True)
def small_standard_library(tmp_path_factory, monkeypatch):
    """A folder in the place of the running Python's standard library."""
    folder = tmp_path_factory.mktemp("stdlib")
    files = {f"module{n}.py": f"x = {n}\n".encode() for n in range(40)}
    files |= {
        "package/__init__.py": b"",
        "package/blank.py": b" \n\n",
        "package/code.py": "# コード\n".encode(),
        "package/twin.py": b"x = 3\n",
        "package/latin.py": b"# \xe9\n",
        "package/data.txt": b"text",
        "package/test/test_code.py": b"assert True\n",
        "idlelib/editor.py": b"y = 1\n",
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    monkeypatch.setattr(quickstart.sysconfig, "get_path", lambda name: str(folder))
    return folder


def build(source, output_dir, **options):
    return build_quickstart_corpora(
        output_dir, archive=source.archive, manifest=source.manifest, **options
    )


def texts(output_dir, name) -> dict[str, list[str]]:
    return {
        split: [
            document["text"] for _, document in read_documents(output_dir / name / f"{split}.jsonl")
        ]
        for split in ("train", "validation")
    }


def test_every_sentence_and_file_is_in_exactly_one_split(source, tmp_path):
    record = build(source, tmp_path)
    expected = {
        "ja": 398,
        "en": 397,
        "code": 41,
    }  # duplicates, `-`, empty, undecodable and skipped ones are gone
    for name, count in expected.items():
        split = texts(tmp_path, name)
        both = split["train"] + split["validation"]
        assert len(both) == len(set(both)) == count
        assert split["validation"]
        for part, members in split.items():
            assert {split_of(text, 0.2) for text in members} == {part}
            assert record["corpora"][name][part]["documents"] == len(members)
            size = sum(len(text.encode()) for text in members)
            assert record["corpora"][name][part]["text_bytes"] == size


def test_documents_say_where_they_come_from(source, tmp_path):
    build(source, tmp_path)
    for name, id, licence in [
        ("ja", "tatoeba/1/ja", "CC-BY-2.0-FR"),
        ("en", "tatoeba/1/en", "CC-BY-2.0-FR"),
    ]:
        both = [
            d
            for s in ("train", "validation")
            for _, d in read_documents(tmp_path / name / f"{s}.jsonl")
        ]
        found = next(document for document in both if document["meta"]["id"] == id)
        assert found["text"] in ("私は学生です。", "I am a student.")
        assert found["meta"] == {"id": id, "source": "tatoeba", "licence": licence}
    code = [
        d
        for s in ("train", "validation")
        for _, d in read_documents(tmp_path / "code" / f"{s}.jsonl")
    ]
    document = next(document for document in code if "コード" in document["text"])
    assert document["meta"]["id"].endswith("/package/code.py")
    assert document["meta"]["licence"] == "PSF-2.0"
    assert not [d for d in code if "/test/" in d["meta"]["id"] or "idlelib" in d["meta"]["id"]]


def test_the_same_sources_give_the_same_files(source, tmp_path):
    build(source, tmp_path / "a")
    build(source, tmp_path / "b")
    for file in FILES:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_finished_output_is_left_alone_until_something_changes(source, tmp_path):
    first = build(source, tmp_path)
    times = [(tmp_path / file).stat().st_mtime_ns for file in FILES]
    source.archive.unlink()  # a second build must not need it
    assert build(source, tmp_path) == first
    assert [(tmp_path / file).stat().st_mtime_ns for file in FILES] == times
    with pytest.raises(UserError, match="there is no file"):
        build(source, tmp_path, validation_fraction=0.5)


def test_a_damaged_output_is_made_again(source, tmp_path):
    first = build(source, tmp_path)
    whole = (tmp_path / "ja/train.jsonl").read_bytes()
    (tmp_path / "ja/train.jsonl").write_bytes(whole[:-10])
    assert build(source, tmp_path) == first
    assert (tmp_path / "ja/train.jsonl").read_bytes() == whole


def test_a_build_that_stops_halfway_is_not_taken_for_finished(source, tmp_path, monkeypatch):
    build(source, tmp_path)
    write = quickstart.write_documents

    def stop_at_code(path, documents):
        if path.parent.name == "code":
            raise KeyboardInterrupt
        return write(path, documents)

    monkeypatch.setattr(quickstart, "write_documents", stop_at_code)
    with pytest.raises(KeyboardInterrupt):
        build(source, tmp_path, validation_fraction=0.5)
    assert not (tmp_path / "quickstart.json").exists()
    monkeypatch.setattr(quickstart, "write_documents", write)
    assert build(source, tmp_path, validation_fraction=0.5)["validation_fraction"] == 0.5


def test_a_failed_download_leaves_no_corpora(source, tmp_path):
    source.manifest["tatoeba"]["sha256"] = "0" * 64
    with pytest.raises(UserError, match="could not download"):
        build_quickstart_corpora(tmp_path, manifest=source.manifest)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_archive_of_another_hash_is_refused(source, tmp_path):
    with source.archive.open("ab") as file:
        file.write(b"x")
    with pytest.raises(UserError, match="damaged or another file"):
        build(source, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_a_validation_fraction_outside_0_to_1_is_refused(source, tmp_path, fraction):
    with pytest.raises(UserError, match="validation_fraction is .* between 0 and 1"):
        build(source, tmp_path, validation_fraction=fraction)


def test_a_line_of_the_table_without_columns_is_named():
    with pytest.raises(UserError, match="line 2 of the Tatoeba table has 1 columns"):
        quickstart.tatoeba_rows("1\tあ\ta\nbroken\n")


def test_the_command_prints_an_error_and_exits_2(source, tmp_path):
    command = [
        sys.executable,
        "tools/prepare_quickstart.py",
        f"--output_dir={tmp_path}",
        f"--archive={source.archive}",
    ]
    result = subprocess.run(
        command, cwd=repository_root(), capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {source.archive} has sha256")
    assert list(tmp_path.iterdir()) == []


def test_the_record_is_json_with_counts(source, tmp_path):
    record = build(source, tmp_path)
    assert json.loads((tmp_path / "quickstart.json").read_text()) == record
    assert set(record) == {"fingerprint", "python", "validation_fraction", "corpora"}
