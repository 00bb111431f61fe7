"""Arrays kept on disk: computed once, checked each time, and thrown away when they are not what they should be."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.inputs.stored_arrays import stored_arrays

IDENTITY = {"seed": 1, "length": [16, 2]}


def build(folder: Path) -> None:
    with (folder.parent / "built.log").open("a") as log:
        log.write("x")
    np.save(folder / "one.npy", np.arange(1000))
    np.save(folder / "two.npy", np.arange(5, dtype=np.uint32))


def builds(tmp_path: Path) -> int:
    log = tmp_path / "built.log"
    return len(log.read_text()) if log.exists() else 0


def assert_right(arrays) -> None:
    assert arrays["one"].tolist() == list(range(1000))
    assert arrays["two"].dtype == np.uint32 and not arrays["two"].flags.writeable


def folder_of(tmp_path: Path) -> Path:
    (folder,) = (path for path in tmp_path.iterdir() if path.name.startswith("s.order."))
    return folder


def test_what_was_built_is_not_built_again(tmp_path):
    for _ in range(3):
        assert_right(stored_arrays(tmp_path / "s.order", IDENTITY, build))
    assert builds(tmp_path) == 1
    stored_arrays(tmp_path / "s.order", IDENTITY | {"seed": 2}, build)
    assert builds(tmp_path) == 2 and len(list(tmp_path.glob("s.order.*"))) == 2


def flip_a_bit(folder: Path) -> None:
    data = bytearray((folder / "one.npy").read_bytes())
    data[-9] ^= 1
    (folder / "one.npy").write_bytes(data)


def name_another_identity(folder: Path) -> None:
    contents = json.loads((folder / "identity.json").read_bytes())
    contents["identity"]["seed"] = 3
    (folder / "identity.json").write_text(json.dumps(contents))


DAMAGES = {
    "a flipped bit": flip_a_bit,
    "a shorter file": lambda f: (f / "one.npy").write_bytes((f / "one.npy").read_bytes()[:-8]),
    "an empty file": lambda f: (f / "two.npy").write_bytes(b""),
    "a missing file": lambda f: (f / "two.npy").unlink(),
    "a pickle": lambda f: np.save(f / "one.npy", np.array([{}]), allow_pickle=True),
    "no identity": lambda f: (f / "identity.json").unlink(),
    "half an identity": lambda f: (f / "identity.json").write_text('{"identity": {'),
    "an identity of another kind": lambda f: (f / "identity.json").write_text("[]"),
    "another identity": name_another_identity,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_or_foreign_is_built_again(tmp_path, damage):
    stored_arrays(tmp_path / "s.order", IDENTITY, build)
    DAMAGES[damage](folder_of(tmp_path))
    assert_right(stored_arrays(tmp_path / "s.order", IDENTITY, build))
    assert builds(tmp_path) == 2
    assert_right(stored_arrays(tmp_path / "s.order", IDENTITY, build))
    assert builds(tmp_path) == 2


def test_a_build_that_fails_or_is_interrupted_leaves_nothing_to_believe(tmp_path):
    def failing(folder: Path) -> None:
        np.save(folder / "one.npy", np.arange(3))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stored_arrays(tmp_path / "s.order", IDENTITY, failing)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    assert_right(stored_arrays(tmp_path / "s.order", IDENTITY, build))


def _killed(place: Path) -> None:
    def dying(folder: Path) -> None:
        build(folder)
        os.kill(os.getpid(), signal.SIGKILL)

    stored_arrays(place, IDENTITY, dying)


def _slow(place: Path) -> None:
    def slow(folder: Path) -> None:
        build(folder)
        time.sleep(0.3)

    assert_right(stored_arrays(place, IDENTITY, slow))


def _without_locks(place: Path) -> None:
    def no_locks(*_) -> None:
        raise OSError("no locks")

    fcntl.flock = no_locks
    _slow(place)


def processes(target, count: int, place: Path) -> list[int]:
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=target, args=(place,)) for _ in range(count)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    return [process.exitcode for process in started]


def test_a_killed_build_is_cleared_away(tmp_path):
    assert processes(_killed, 1, tmp_path / "s.order") == [-signal.SIGKILL]
    assert list(tmp_path.glob(".s.order.*.tmp"))
    assert_right(stored_arrays(tmp_path / "s.order", IDENTITY, build))
    assert not list(tmp_path.glob(".s.order.*.tmp"))


def test_of_several_processes_one_builds(tmp_path):
    assert processes(_slow, 3, tmp_path / "s.order") == [0, 0, 0]
    assert builds(tmp_path) == 1


def test_without_locks_every_process_has_the_right_arrays(tmp_path):
    assert processes(_without_locks, 3, tmp_path / "s.order") == [0, 0, 0]
    assert_right(stored_arrays(tmp_path / "s.order", IDENTITY, build))
    assert not list(tmp_path.glob(".s.order.*.tmp"))


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*which the order of the data is kept in"):
        stored_arrays(tmp_path / "file" / "s.order", IDENTITY, build)


def test_a_file_in_the_folders_place_is_refused_and_left(tmp_path):
    stored_arrays(tmp_path / "s.order", IDENTITY, build)
    folder = folder_of(tmp_path)
    shutil.rmtree(folder)
    folder.write_text("somebody's")
    with pytest.raises(UserError, match="cannot write .*Not a directory"):
        stored_arrays(tmp_path / "s.order", IDENTITY, build)
    assert folder.read_text() == "somebody's"
