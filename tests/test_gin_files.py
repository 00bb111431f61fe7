"""Gin files are found by search path, and each mistake in one is one sentence with its place."""

import re
import sys
from pathlib import Path

import pytest

from tests.launch_fixtures.launching import MODEL, RUN, error_of, start, working_folder, write


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    return working_folder(tmp_path, monkeypatch)


# Search paths


def test_user_paths_come_before_the_repository_root_and_in_order(folder):
    for place, embed in [("first", 12), ("second", 16)]:
        (folder / place / "gin_configs").mkdir(parents=True)
        text = MODEL.replace("EMBED = 8", f"EMBED = {embed}")
        write(folder, text, f"{place}/gin_configs/model.gin")
    flags = ["--gin_search_paths=second,first,.", "--gin.MODEL_DIR=a"]
    assert start(*flags)["model"].embed == 16


def test_an_include_is_found_under_the_repository_root(folder, capsys):
    root = folder.parent / "root"
    (folder / "gin_configs").rename(root / "gin_configs")
    assert start("--gin.MODEL_DIR=a")["model"].embed == 8
    assert capsys.readouterr().err == ""


def test_a_gin_file_inside_a_python_package_is_not_found_by_accident(folder, capsys):
    package = folder / "library" / "apackage"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "run.gin").write_text(MODEL)
    sys.path.insert(0, str(folder / "library"))
    try:
        assert "there is no gin file" in error_of(capsys, gin_file="apackage/run.gin")
    finally:
        sys.path.pop(0)


def test_a_missing_gin_file_lists_the_places_and_the_nearest_name(folder, capsys):
    sentence = error_of(capsys, gin_file="gin_configs/modle.gin")
    assert f"search paths ., {folder.parent / 'root'}" in sentence
    assert "did you mean gin_configs/model.gin?" in sentence


def test_a_missing_include_names_the_line_that_includes_it(folder, capsys):
    write(folder, RUN.replace("model.gin", "modle.gin"))
    sentence = error_of(capsys)
    assert sentence.startswith("run.gin line 4: there is no gin file gin_configs/modle.gin")
    assert sentence.endswith("did you mean gin_configs/model.gin?")


def test_a_file_that_includes_itself_is_refused(folder, capsys):
    write(folder, "include 'run.gin'\n")
    assert error_of(capsys) == "run.gin line 1: run.gin includes itself"


# Mistakes in gin files


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("target.trian.steps = 3", "no function or class target.trian; did you mean target.train?"),
        ("tarjet.train.steps = 3", "no function or class tarjet.train; did you mean target.train?"),
        ("train.steps = 3", "no function or class train; did you mean target.train?"),
        ("target.train.stesp = 3", "target.train has no parameter stesp; did you mean steps?"),
        ("target.adamw.zzz = 3", "target.adamw has no parameter zzz; it has decay"),
        (
            "target.train.data = @target.Dat()",
            "no function or class target.Dat; did you mean target.Data?",
        ),
        ("target.SIZES.x = 3", "target.SIZES is no function or class"),
        ("target.steps = 3", "target is no function or class"),
        ("unknown.thing.zzz = 3", "imported here: target"),
        ("STEPS = hello", "hello is not a value; quote a string"),
        ("STEPS = 3 4", "more than one value in `STEPS = 3 4`"),
        ("STEPS 3", "Couldn't parse statement"),
        ("STEPS = [3, 4", "is not closed"),
        ("STEPS = ", "Unable to parse value"),
        ("target.train.data = @gin.singleton()", "gin.singleton is not supported"),
        ("import gin", "the name gin is taken"),
        ("import launch_tarjet", "no module launch_tarjet; did you mean launch_target?"),
        ("from llmjp_jax import errros", "no module llmjp_jax.errros; did you mean errors?"),
        ("import needs_missing_package", "needs the package a_package_that_nobody_has"),
        (
            "from launch_target import train",
            "write `import launch_target` and name launch_target.train",
        ),
        ("from __gin__ import magic", "gin has no feature __gin__.magic"),
    ],
)
def test_a_mistake_in_a_gin_file_is_one_sentence_with_file_line_and_nearest_name(
    folder, capsys, line, sentence
):
    write(folder, RUN + line + "\n")
    found = error_of(capsys, "--gin.MODEL_DIR=a")
    number = RUN.count("\n") + 1
    assert re.match(rf"run\.gin line ({number}|{number + 1}): ", found), found
    assert sentence in found


def test_a_mistake_in_an_included_file_names_that_file_only(folder, capsys):
    write(folder, MODEL + "launch_target.Model.embd = 3\n", "gin_configs/model.gin")
    sentence = error_of(capsys)
    assert sentence.startswith("gin_configs/model.gin line 7: launch_target.Model has no parameter")
    assert "run.gin" not in sentence


def test_a_mistake_inside_a_list_names_its_own_line(folder, capsys):
    write(folder, RUN + "target.train.data = [\n  1,\n  @target.Dat(),\n]\n")
    number = RUN.count("\n") + 3
    assert error_of(capsys).startswith(f"run.gin line {number}: there is no function")


def test_a_mistake_in_a_flag_names_the_flag_as_typed(folder, capsys):
    sentence = error_of(capsys, "--gin.MODEL_DIR=a", "--gin.train.stesp=4")
    assert sentence == "--gin.train.stesp=4: train has no parameter stesp; did you mean steps?"


def test_a_flag_name_that_fits_two_functions_is_refused(folder, capsys):
    (folder / "other.py").write_text("def Data(seed=0): return seed\n")
    sys.path.insert(0, str(folder))
    try:
        write(folder, RUN + "import other\ntarget.train.data = @other.Data()\n")
        sentence = error_of(capsys, "--gin.MODEL_DIR=a", "--gin.Data.seed=1")
    finally:
        sys.path.pop(0)
    assert "Data may mean other.Data or target.Data" in sentence


def test_macros_that_go_round_in_a_circle_are_refused(folder, capsys):
    write(folder, RUN + "STEPS = %OTHER\nOTHER = %STEPS\n")
    assert "go round in a circle" in error_of(capsys, "--gin.MODEL_DIR=a")


def test_a_circle_that_a_later_binding_breaks_is_none(folder):
    write(folder, RUN + "STEPS = %OTHER\nOTHER = %STEPS\nSTEPS = 6\ntarget.train.data = %OTHER\n")
    assert start("--gin.MODEL_DIR=a")["data"] == 6
