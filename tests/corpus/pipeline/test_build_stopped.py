"""Ctrl-C and SIGTERM: one sentence, the right exit code, no process left; and two builds at once do not meet."""

import os
import signal
import sys
import time

import pytest

from llmjp_jax.corpus.pipeline import build_corpus
from llmjp_jax.corpus.pipeline.build import _alone
from llmjp_jax.errors import UserError
from tests.corpus.pipeline.test_build import ONE, web
from tests.corpus.pipeline.test_build_killed import GIN, all_end, descendants, start


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="process groups and orphans as on Linux")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_build_says_one_sentence(raw, tmp_path, number):
    gin = tmp_path / "web.gin"
    gin.write_text(GIN)
    process = start(raw, tmp_path / "out", gin, start_new_session=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob(".build/*/statistics/filter/*")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = descendants(process)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    told = [line for line in errors.replace("\r", "\n").split("\n") if line and "web: " not in line]
    assert told == ["stopped; the same command goes on where it was"]
    assert all_end(children)


def test_a_second_build_into_the_same_folder_waits_its_turn(raw, tmp_path):
    arguments = {"input_dir": str(raw), "output_dir": str(tmp_path / "out"), "corpora": [web()]}
    with _alone(tmp_path / "out"), pytest.raises(UserError, match="another build into .* runs"):
        build_corpus(**arguments, executor=ONE)
    build_corpus(**arguments, executor=ONE)


def test_a_file_system_without_locks_does_for_one_build(raw, tmp_path, monkeypatch):
    import fcntl

    def refused(handle, operation):
        raise OSError(9, "Bad file descriptor")  # NFS, of a folder

    monkeypatch.setattr(fcntl, "flock", refused)
    arguments = {"input_dir": str(raw), "output_dir": str(tmp_path / "out"), "corpora": [web()]}
    assert build_corpus(**arguments, executor=ONE)


def test_a_file_that_cannot_be_opened_is_named(raw, tmp_path, monkeypatch):
    from pathlib import Path

    opened = Path.open

    def refused(path, *arguments, **named):
        if path.name == "a.jsonl":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(UserError, match=r"cannot read .*a.jsonl: Permission denied"):
        build_corpus(
            input_dir=str(raw), output_dir=str(tmp_path / "out"), corpora=[web()], executor=ONE
        )
