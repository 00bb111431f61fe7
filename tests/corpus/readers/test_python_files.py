"""Python files: each one below the folder, in a fixed order, without the folders that are left out."""

from pathlib import Path

from llmjp_jax.corpus.readers.broken import BrokenRecord
from llmjp_jax.corpus.readers.python_files import read_python_files, standard_library


def test_files_are_documents_by_path(tmp_path):
    files = {
        "b.py": b"x = 1\n",
        "a/z.py": "# コード\n".encode(),
        "a/data.txt": b"text",
        "a/test/t.py": b"assert True\n",
        "c/latin.py": b"# \xe9\n",
        "c/empty.py": b"",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    found = list(
        read_python_files(tmp_path, source="here", licence="PSF-2.0", skip_folders=["test"])
    )
    assert [position for position, _ in found] == ["a/z.py", "b.py", "c/empty.py", "c/latin.py"]
    assert found[0][1] == {
        "text": "# コード\n",
        "meta": {"id": "here/a/z.py", "source": "here", "licence": "PSF-2.0"},
    }
    assert isinstance(found[3][1], BrokenRecord)
    assert "not UTF-8" in found[3][1].reason


def test_the_standard_library_has_code():
    assert (Path(standard_library()) / "json" / "__init__.py").is_file()
