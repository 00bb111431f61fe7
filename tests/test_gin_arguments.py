"""Bindings become arguments; what is missing, unused or refused is one sentence; the operative text is whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch_fixtures.launching import (
    FIXTURES,
    MODEL,
    ROOT,
    RUN,
    error_of,
    start,
    working_folder,
    write,
)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    return working_folder(tmp_path, monkeypatch)


# Arguments


def test_the_entry_is_called_with_objects_built_from_references_scopes_and_macros(folder):
    import launch_target

    arguments = start("--gin.MODEL_DIR=runs/a", "--gin.STEPS=5")
    assert arguments["model_dir"] == "runs/a"
    assert arguments["steps"] == 5
    assert type(arguments["model"]) is launch_target.Model
    assert arguments["model"] == launch_target.Model(embed=8)
    assert arguments["validation"] == launch_target.Data(split="validation")


def test_a_reference_without_a_scope_inherits_the_one_it_is_called_in(folder):
    write(
        folder,
        RUN + "target.train.optimizer = @a/target.adamw()\n"
        "a/target.adamw.decay = @target.adafactor()\n"
        "a/target.adafactor.decay_rate = 0.1\n",
    )
    assert start("--gin.MODEL_DIR=a")["optimizer"] == "adamw adafactor 0.1"


def test_bindings_on_the_command_line_win_in_the_order_given(folder):
    arguments = start(
        "--gin.MODEL_DIR=a", "--gin_bindings=STEPS = 1", "--gin.STEPS=2", "--gin_bindings=EMBED = 4"
    )
    assert (arguments["steps"], arguments["model"].embed) == (2, 4)


@pytest.mark.parametrize(
    "name", ["Data.seed", "launch_target.Data.seed", "target.Data.seed", "validation/Data.seed"]
)
def test_a_parameter_is_set_by_any_unambiguous_name(folder, name):
    assert start("--gin.MODEL_DIR=a", f"--gin.{name}=7")["validation"].seed == 7


def test_a_function_that_the_files_import_but_do_not_mention_can_be_bound_by_a_flag(folder):
    flags = ["--gin.MODEL_DIR=a", "--gin.target.train.optimizer=@target.adamw()"]
    assert start(*flags, "--gin.target.adamw.decay=0.5")["optimizer"] == "adamw 0.5"


def test_a_reference_without_parentheses_arrives_as_a_configured_function(folder):
    flags = ["--gin.target.train.schedule=@target.schedule", "--gin.schedule.peak=0.5"]
    assert start("--gin.MODEL_DIR=a", *flags)["schedule"](4) == 2.0


def test_a_configured_function_lets_its_caller_decide_and_outlives_another_launch(folder):
    flags = ["--gin.MODEL_DIR=a", "--gin.target.train.schedule=@target.schedule"]
    bindings = ["--gin.schedule.peak=0.5", "--gin.schedule.step=3"]
    schedule = start(*flags, *bindings)["schedule"]
    start("--gin.MODEL_DIR=b")
    assert (schedule(), schedule(4), schedule(4, 1.0), schedule(peak=2)) == (1.5, 2.0, 4.0, 6)
    assert schedule.__name__ == "schedule"


def test_a_function_without_bindings_arrives_as_itself(folder):
    import launch_target

    flags = ["--gin.MODEL_DIR=a", "--gin.target.train.data=@target.Data"]
    assert start(*flags)["data"] is launch_target.Data


def test_a_second_launch_in_one_process_starts_from_nothing(folder, capsys):
    start("--gin.MODEL_DIR=a", "--gin.STEPS=5")
    assert start("--gin.MODEL_DIR=a")["steps"] == 3
    assert "MODEL_DIR" in error_of(capsys)


def test_a_second_launch_does_not_know_what_only_the_first_imported(folder, capsys):
    start("--gin.MODEL_DIR=a")
    write(folder, "Data.seed = 3\n")
    assert "no function or class Data; imported here: nothing" in error_of(capsys)


def test_a_function_is_named_as_this_launch_imports_it_not_an_earlier_one(
    folder, capsys, monkeypatch
):
    monkeypatch.syspath_prepend(folder)
    (folder / "fresh.py").write_text("def work(*, x, y): pass\n")
    for name in ["other", "fresh"]:
        text = (
            f"from __gin__ import dynamic_registration\nimport fresh as {name}\n{name}.work.x = 1\n"
        )
        write(folder, text)
        assert error_of(capsys, entry="fresh.work").startswith(f"{name}.work needs y;")


# Missing and unused


def test_a_missing_required_macro_names_the_file_and_the_flag(folder, capsys):
    assert error_of(capsys) == (
        "MODEL_DIR is required by run.gin line 5 and not set; give --gin.MODEL_DIR=..."
    )


def test_all_missing_macros_are_named_at_once(folder, capsys):
    write(folder, RUN.replace("STEPS = 3", "STEPS = %gin.REQUIRED"))
    assert error_of(capsys).endswith("give --gin.MODEL_DIR=... --gin.STEPS=...")


def test_a_misspelt_required_macro_is_pointed_out(folder, capsys):
    sentence = error_of(capsys, "--gin.MODLE_DIR=a")
    assert sentence.startswith("MODEL_DIR is required by run.gin line 5")
    assert "--gin.MODLE_DIR=a sets MODLE_DIR" in sentence


def test_a_macro_that_nothing_defines_is_refused_with_the_nearest_name(folder, capsys):
    write(folder, RUN.replace("= %STEPS", "= %STESP"))
    sentence = error_of(capsys, "--gin.MODEL_DIR=a")
    assert sentence == "run.gin line 10 uses %STESP, which nothing defines; did you mean STEPS?"


def test_a_missing_argument_of_the_entry_is_named(folder, capsys):
    write(folder, RUN.replace("    model = %MODEL\n", "").replace("include", "# include"))
    sentence = error_of(capsys, "--gin.MODEL_DIR=a")
    assert sentence == "target.train needs model; add `target.train.model = ...` to a gin file"


def test_a_missing_argument_of_a_referenced_class_is_named_with_the_place_that_needs_it(
    folder, capsys
):
    write(folder, MODEL.replace("launch_target.Model.embed", "# "), "gin_configs/model.gin")
    sentence = error_of(capsys, "--gin.MODEL_DIR=a")
    assert sentence.startswith("gin_configs/model.gin line 5: launch_target.Model needs embed; add")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("STESP = 4", "sets STESP, which nothing uses; did you mean STEPS?"),
        (
            "valdation/target.Data.seed = 4",
            "sets valdation/target.Data.seed, which nothing uses; "
            "did you mean validation/target.Data.seed?",
        ),
        ("target.adamw.decay = 4", "sets target.adamw.decay, which nothing uses"),
        ("train/target.Model.heads = 2", "sets train/target.Model.heads, which nothing uses"),
    ],
)
def test_a_binding_that_nothing_uses_is_refused_with_place_and_nearest_name(
    folder, capsys, line, sentence
):
    write(folder, RUN + line + "\n")
    found = error_of(capsys, "--gin.MODEL_DIR=a")
    assert found.startswith(f"run.gin line {RUN.count(chr(10)) + 1} {sentence}")


def test_an_unused_flag_is_refused_as_typed(folder, capsys):
    sentence = error_of(capsys, "--gin.MODEL_DIR=a", "--gin.EMBDE=4")
    assert sentence == "--gin.EMBDE=4 sets EMBDE, which nothing uses; did you mean EMBED?"


def test_what_a_replaced_reference_used_may_stay_in_the_files_but_not_in_a_flag(folder, capsys):
    base = "target.train.optimizer = @target.adamw()\ntarget.adamw.decay = 0.3\n"
    write(folder, RUN + base + "target.train.optimizer = @target.adafactor()\n")
    arguments = start("--gin.MODEL_DIR=a")
    assert arguments["optimizer"] == "adafactor 0.8"
    assert "adamw" not in arguments["operative_config"]
    sentence = error_of(capsys, "--gin.MODEL_DIR=a", "--gin.adamw.decay=0.2")
    assert sentence.startswith("--gin.adamw.decay=0.2 sets adamw.decay, which nothing uses")


def test_the_parameter_that_the_launcher_fills_cannot_be_bound(folder, capsys):
    sentence = error_of(capsys, "--gin.MODEL_DIR=a", "--gin.train.operative_config=x")
    assert "train.operative_config is filled by the launcher" in sentence


# Errors of the configured code


def test_a_refusal_of_a_configured_class_gains_the_places_of_the_fields_it_names(folder, capsys):
    flags = ["--gin.MODEL_DIR=a", "--gin.EMBED=9", "--gin.Model.heads=2"]
    assert error_of(capsys, *flags) == (
        "embed=9 is not a multiple of heads=2 (embed: --gin.EMBED=9; heads: --gin.Model.heads=2)"
    )


def test_a_refusal_of_a_configured_function_during_the_run_stays_one_sentence(folder, capsys):
    write(folder, RUN + "target.use.peak = @target.schedule\n")
    (folder / "user.py").write_text("def use(*, schedule): return schedule(1)\n")
    write(
        folder,
        "from __gin__ import dynamic_registration\nimport user\nimport launch_target\n"
        "user.use.schedule = @launch_target.schedule\nlaunch_target.schedule.peak = -1.0\n",
    )
    sys.path.insert(0, str(folder))
    try:
        assert error_of(capsys, entry="user.use") == "peak=-1.0 must not be negative"
    finally:
        sys.path.pop(0)


def test_a_defect_of_the_entry_passes_through_unchanged(folder):
    (folder / "defect.py").write_text("def work(*, x): raise KeyError(x)\n")
    write(folder, "from __gin__ import dynamic_registration\nimport defect\ndefect.work.x = 'a'\n")
    sys.path.insert(0, str(folder))
    try:
        with pytest.raises(KeyError, match="^'a'$"):
            start(entry="defect.work")
    finally:
        sys.path.pop(0)


# The operative configuration


FULL = (
    "target.train.schedule = @target.schedule\n"
    "target.train.data = {'ja': [@target.Data(), (%STEPS, 'x')]}\n"
    "STEPS = 40\n"
)


def test_the_operative_text_gives_the_same_arguments_and_the_same_text(folder):
    write(folder, RUN + FULL)
    first = start("--gin.MODEL_DIR=a", "--gin.schedule.peak=0.5")
    config = first.pop("operative_config")
    write(folder, config, "operative.gin")
    second = start(gin_file="operative.gin")
    again = second.pop("operative_config")
    assert first.pop("schedule")(3) == second.pop("schedule")(3) == 1.5
    assert first == second
    assert again == config


def test_the_operative_text_does_not_depend_on_the_order_of_hashes(folder):
    code = (
        "from llmjp_jax import launch;"
        "result = launch.run('launch_target.train', description='', example='');"
        "print(result['operative_config'])"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code, "--gin_file=run.gin", "--gin.MODEL_DIR=a"],
            cwd=folder,
            env=os.environ
            | {"PYTHONPATH": f"{ROOT}{os.pathsep}{FIXTURES}", "PYTHONHASHSEED": str(seed)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in range(4)
    }
    assert len(texts) == 1 and "Model.embed = %EMBED" in texts.pop()


def test_the_operative_text_holds_defaults_and_uncalled_functions(folder):
    write(folder, RUN + FULL)
    lines = start("--gin.MODEL_DIR=a")["operative_config"].splitlines()
    for line in (
        "launch_target.Model.heads = 4",
        "launch_target.schedule.peak = 1.0",
        "launch_target.train.steps = %STEPS",
        "STEPS = 40",
        "validation/launch_target.Data.split = 'validation'",
    ):
        assert line in lines, lines
    assert not [line for line in lines if "operative_config" in line]
