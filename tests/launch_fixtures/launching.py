"""What the tests of launching share: a working folder with gin files, and ways to launch in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmjp_jax import gin_files, launch

FIXTURES = Path(__file__).parent
ROOT = Path(__file__).parents[2]

MODEL = """
from __gin__ import dynamic_registration
import launch_target
EMBED = 8
MODEL = @launch_target.Model()
launch_target.Model.embed = %EMBED
"""

RUN = """
from __gin__ import dynamic_registration
import launch_target as target
include 'gin_configs/model.gin'
MODEL_DIR = %gin.REQUIRED
STEPS = 3
target.train:
    model_dir = %MODEL_DIR
    model = %MODEL
    steps = %STEPS
    validation = @validation/target.Data()
validation/target.Data.split = 'validation'
"""


def working_folder(tmp_path, monkeypatch) -> Path:
    """A working folder with gin_configs/model.gin and run.gin; the repository root is an empty folder beside it."""
    (tmp_path / "work" / "gin_configs").mkdir(parents=True)
    (tmp_path / "root").mkdir()
    (tmp_path / "work" / "gin_configs" / "model.gin").write_text(MODEL)
    (tmp_path / "work" / "run.gin").write_text(RUN)
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.syspath_prepend(FIXTURES)
    monkeypatch.setattr(gin_files, "repository_root", lambda: tmp_path / "root")
    return tmp_path / "work"


def start(*flags: str, entry: str = "launch_target.train", gin_file: str = "run.gin"):
    return launch.run(
        entry,
        [f"--gin_file={gin_file}", *flags],
        description="A test.",
        example="gin_configs/quickstart.gin",
        dry_run="launch_target.dry_run",
    )


def error_of(capsys, *flags: str, **options) -> str:
    """The sentence that a mistake prints; it is one line, and the exit code is 2."""
    with pytest.raises(SystemExit) as exit_:
        start(*flags, **options)
    assert exit_.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and printed.count("\n") == 1, printed
    return printed.removeprefix("error: ").rstrip("\n")


def write(folder: Path, text: str, name: str = "run.gin") -> None:
    (folder / name).write_text(text)


def command(
    *flags: str, entry: str = "launch_target.train", cwd: Path, grace: float = 30, env=None
):
    """The same launch as a process of its own."""
    code = (
        "from llmjp_jax import launch; "
        f"launch.GRACE_SECONDS = {grace}; "
        f"launch.run({entry!r}, description='A test.', example='x.gin', dry_run='launch_target.dry_run')"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{FIXTURES}"} | (env or {})
    return subprocess.Popen(
        [sys.executable, "-c", code, *flags],
        cwd=cwd,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
