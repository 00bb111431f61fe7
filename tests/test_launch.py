"""The launcher's flags, dry runs, processes and exits."""

import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmjp_jax import launch
from llmjp_jax.errors import UserError
from tests.launch_fixtures.launching import (
    ROOT,
    RUN,
    command,
    error_of,
    start,
    working_folder,
    write,
)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    return working_folder(tmp_path, monkeypatch)


# The flags


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("256", "256"),
        ("-1e-4", "-1e-4"),
        ("True", "True"),
        ("None", "None"),
        ("'a b'", "'a b'"),
        ('"a"', '"a"'),
        ("[1, 2]", "[1, 2]"),
        ("[%A, @b.c()]", "[%A, @b.c()]"),
        ("{'ja': 5}", "{'ja': 5}"),
        ("@a/models.Model()", "@a/models.Model()"),
        ("@loop.cosine", "@loop.cosine"),
        ("%STEPS", "%STEPS"),
        ("runs/first", "'runs/first'"),
        ("/data/x.model", "'/data/x.model'"),
        ("gs://bucket/x", "'gs://bucket/x'"),
        ("llama-7b", "'llama-7b'"),
        ("2024-11-12", "'2024-11-12'"),
        ("it's", '"it\'s"'),
        ("a#b", "'a#b'"),
        ("~/runs", repr(str(Path.home() / "runs"))),
    ],
)
def test_a_flag_value_becomes_gin_text(value, text):
    assert launch.quoted(value, f"--gin.X={value}") == text


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ("3 4", "--gin.X='\"3 4\"'"),
        ("my run", "--gin.X='\"my run\"'"),
        ("", "--gin.X=\"''\""),
        ("true", "--gin.X=True,"),
        ("FALSE", "--gin.X=False,"),
        ("none", "--gin.X=None,"),
        ("null", "--gin.X=None,"),
        ("'open", "does not close"),
        ("@models.Model(3)", "@module.function()"),
        ("%A B", "%NAME"),
    ],
)
def test_a_flag_value_that_gin_would_misread_is_refused_with_the_right_spelling(value, advice):
    with pytest.raises(UserError, match=re.escape(advice)):
        launch.quoted(value, f"--gin.X={value}")


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--gin_fiel=a", "unknown flag --gin_fiel; did you mean --gin_file?"),
        ("--dry-run", "unknown flag --dry-run; did you mean --dry_run?"),
        ("--dry", "unknown flag --dry; did you mean --dry_run?"),
        ("--zzz", "unknown flag --zzz; --help lists the flags"),
        ("word", "unexpected argument word"),
        ("--gin.MODEL_DIR", "--gin.MODEL_DIR is not of the form --gin.NAME=VALUE"),
        ("--gin.a b=3", "--gin.a b=3 is not of the form"),
        ("--gin_file", "argument --gin_file: expected one argument"),
        ("--dry_run=maybe", "'maybe' is neither True nor False"),
        ("--process_count=two", "argument --process_count: invalid int value: 'two'"),
        ("--process_count=2", "need --coordinator_address=HOST:PORT"),
        ("--coordinator_address=host", "is not of the form HOST:PORT"),
        ("--coordinator_address=host:1", "needs --process_count and --process_index"),
        ("--initialization_timeout=0", "must be a number of seconds from 1"),
        ("--hosts=a,b:1", "--hosts gives b:1 a port"),
        ("--gin_search_paths=.,nowhere", "--gin_search_paths names nowhere, which is not a folder"),
    ],
)
def test_a_malformed_flag_is_one_sentence(folder, capsys, flag, sentence):
    assert sentence in error_of(capsys, flag)


def test_a_process_index_beyond_the_count_is_refused(folder, capsys):
    flags = ["--coordinator_address=host:1", "--process_count=2", "--process_index=2"]
    assert "--process_index=2 must be from 0 to 1" in error_of(capsys, *flags)


def test_hosts_leave_nothing_to_say_about_the_number_of_processes(folder, capsys):
    assert "remove --coordinator_address" in error_of(capsys, "--hosts=a,b", "--process_count=2")


def test_without_a_gin_file_the_error_names_one(capsys):
    with pytest.raises(SystemExit):
        launch.run("launch_target.train", [], description="A test.", example="gin_configs/q.gin")
    assert "--gin_file=gin_configs/q.gin" in capsys.readouterr().err


# Dry runs, processes and exits


def test_a_dry_run_gets_the_same_arguments_and_the_entry_is_not_called(folder, capsys):
    (folder / "trap.py").write_text(
        "def work(*, model, steps): raise AssertionError('called')\n"
        "def dry_run(*, model, steps, operative_config): print(model, steps, operative_config)\n"
    )
    sys.path.insert(0, str(folder))
    text = RUN.replace("target.train:", "trap.work:").replace(
        "import launch", "import trap\nimport launch"
    )
    text = re.sub(r".*(MODEL_DIR|alidation).*\n", "", text)
    write(folder, text)
    options = {"description": "A test.", "example": "x.gin", "dry_run": "trap.dry_run"}
    try:
        launch.run("trap.work", ["--gin_file=run.gin", "--dry_run"], **options)
    finally:
        sys.path.pop(0)
    printed = capsys.readouterr().out
    assert printed.startswith("Model(embed=8, heads=4, axes={}) 3") and "STEPS = 3" in printed


def test_a_dry_run_refuses_the_same_mistakes(folder, capsys):
    assert "MODEL_DIR is required" in error_of(capsys, "--dry_run")


def test_a_dry_run_neither_waits_for_other_processes_nor_writes(folder, capsys):
    before = sorted(folder.rglob("*"))
    start(
        "--gin.MODEL_DIR=a",
        "--dry_run",
        "--coordinator_address=nowhere:1",
        "--process_count=2",
        "--process_index=0",
    )
    assert capsys.readouterr().out.startswith("would train 3 steps")
    assert sorted(folder.rglob("*")) == before


def test_help_answers_within_a_second_and_imports_nothing_heavy(tmp_path):
    code = (
        "import atexit, sys; from llmjp_jax import launch;"
        "atexit.register(lambda: print('LOADED', {'jax', 'gin', 'numpy'} & set(sys.modules)));"
        "launch.run('a.b', ['--help'], description='A test.', example='x.gin', dry_run='a.c')"
    )
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        seconds.append(time.perf_counter() - began)
    assert "--gin_search_paths" in done.stdout
    assert "LOADED set()" in done.stdout
    assert min(seconds) < 1.0


def test_a_mistake_exits_2_with_one_sentence_and_no_traceback(folder):
    process = command("--gin_file=run.gin", cwd=folder)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert err.startswith("error: MODEL_DIR is required") and err.count("\n") == 1


def test_a_dry_run_exits_0(folder):
    process = command("--gin_file=run.gin", "--gin.MODEL_DIR=a", "--dry_run", cwd=folder)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("would train 3 steps")


def test_a_defect_exits_1_with_its_traceback_though_a_thread_still_runs(folder):
    write(folder, RUN.replace("target.train:", "target.fail:"))
    write(folder, re.sub(r".*(steps|STEPS|alidation).*\n", "", (folder / "run.gin").read_text()))
    flags = ["--gin_file=run.gin", "--gin.MODEL_DIR=a"]
    process = command(*flags, entry="launch_target.fail", cwd=folder, grace=1)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "RuntimeError: defect in a" in err


@pytest.mark.parametrize("way", ["address", "hosts", "slurm"])
def test_two_processes_meet_and_are_numbered(folder, way):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    write(
        folder,
        "from __gin__ import dynamic_registration\nimport launch_target\n"
        "launch_target.meet.model_dir = 'a'\n",
    )
    step = {
        "SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": "2", "JAX_COORDINATOR_PORT": str(port),
    }  # fmt: skip
    processes = []
    for index in range(2):
        flags, variables = {
            "address": ([f"--coordinator_address=localhost:{port}", "--process_count=2"], {}),
            "hosts": ([f"--hosts=localhost:{port},127.0.0.1"], {}),
            "slurm": (["--coordinator_address=auto"], step | {"SLURM_PROCID": str(index)}),
        }[way]
        flags += [] if way == "slurm" else [f"--process_index={index}"]
        processes.append(
            command(
                "--gin_file=run.gin", *flags, entry="launch_target.meet", cwd=folder, env=variables
            )
        )
    said = "2 of 2 processes connected", f"waits up to 300 s for process 0 at localhost:{port}"
    for index, process in enumerate(processes):
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out == f"process {index} of 2\n"
        assert said[index] in err
