"""The house stands as it was drawn: imports point one way, heavy libraries stay where they belong, help is quick."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "llmjp_jax"
COMMANDS = [["-m", f"llmjp_jax.{name}"] for name in ("train", "infer", "eval")] + [
    [str(path.relative_to(REPOSITORY))]
    for path in sorted((REPOSITORY / "tools").glob("*.py"))
    if "ArgumentParser(" in path.read_text() and "__main__" in path.read_text()
]
# The only places that may name TensorFlow or SeqIO.
TENSORFLOW_PLACES = (
    "tasks/",
    "inputs/build.py",
    "inputs/tokenizing.py",
    "tokenizer/vocabulary.py",
    "corpus/readers/wikipedia_tfds.py",
)


def imported_names(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def modules_that_import(*roots: str) -> set[str]:
    return {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if any(name.split(".")[0] in roots for name in imported_names(path))
    }


def test_rooms_import_one_way():
    found = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_every_module_lies_in_a_layer_that_the_contract_knows():
    import tomllib

    contract = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ][0]
    layers = {name.strip() for layer in contract["layers"] for name in layer.split("|")}
    rooms = {
        f"llmjp_jax.{path.stem}"
        for path in PACKAGE.iterdir()
        if path.stem not in ("__init__", "__pycache__")
    }
    assert rooms == layers


def test_pytorch_is_no_part_of_the_package():
    # A script for a process of its own, where bert_score or COMET is installed.
    apart = {"evaluation/metrics/learned_worker.py"}
    assert modules_that_import("torch", "transformers", "peft") == apart


def test_gin_is_known_to_the_launchers_alone():
    assert modules_that_import("gin") <= {
        "launch.py",
        "gin_files.py",
        "gin_arguments.py",
    }


def test_tensorflow_is_known_to_the_makers_of_stores_alone():
    outside = {
        name
        for name in modules_that_import(
            "tensorflow", "seqio", "tensorflow_datasets", "tensorflow_text"
        )
        if not name.startswith(TENSORFLOW_PLACES)
    }
    assert outside == set()


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_answers_within_a_second(command):
    best = min(_seconds_of_help(command) for _ in range(3))
    assert best < 1, f"--help took {best:.2f} s"


def _seconds_of_help(command) -> float:
    start = time.perf_counter()
    found = subprocess.run(
        [sys.executable, *command, "--help"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert found.returncode == 0 and "usage" in found.stdout, found.stderr
    return time.perf_counter() - start


def test_no_file_is_a_drawer():
    long = {
        str(p): n for p in PACKAGE.rglob("*.py") if (n := len(p.read_text().splitlines())) > 400
    }
    assert not long
    assert not [
        p
        for p in REPOSITORY.rglob("*.py")
        if p.stem in ("utils", "helpers", "common") and ".venv" not in p.parts
    ]
