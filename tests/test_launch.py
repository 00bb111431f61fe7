"""Launching from gin files: flags, search paths, one sentence for each mistake, dry runs and exits."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmjp_jax import gin_files, launch
from llmjp_jax.errors import UserError

FIXTURES = Path(__file__).parent / "launch_fixtures"
ROOT = Path(__file__).parents[1]

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


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
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


def command(*flags: str, entry: str = "launch_target.train", cwd: Path, grace: float = 30):
    """The same launch as a process of its own."""
    code = (
        "from llmjp_jax import launch; "
        f"launch.GRACE_SECONDS = {grace}; "
        f"launch.run({entry!r}, description='A test.', example='x.gin', dry_run='launch_target.dry_run')"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{FIXTURES}"}
    return subprocess.Popen(
        [sys.executable, "-c", code, *flags],
        cwd=cwd,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


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
        ("--gin_search_paths=.,nowhere", "--gin_search_paths names nowhere, which is not a folder"),
    ],
)
def test_a_malformed_flag_is_one_sentence(folder, capsys, flag, sentence):
    assert sentence in error_of(capsys, flag)


def test_a_process_index_beyond_the_count_is_refused(folder, capsys):
    flags = ["--coordinator_address=host:1", "--process_count=2", "--process_index=2"]
    assert "--process_index=2 must be from 0 to 1" in error_of(capsys, *flags)


def test_without_a_gin_file_the_error_names_one(capsys):
    with pytest.raises(SystemExit):
        launch.run("launch_target.train", [], description="A test.", example="gin_configs/q.gin")
    assert "--gin_file=gin_configs/q.gin" in capsys.readouterr().err


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


def test_two_processes_meet_at_the_coordinator(folder):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    write(
        folder,
        "from __gin__ import dynamic_registration\nimport launch_target\n"
        "launch_target.meet.model_dir = 'a'\n",
    )
    shared = ["--gin_file=run.gin", f"--coordinator_address=localhost:{port}", "--process_count=2"]
    processes = [
        command(*shared, f"--process_index={index}", entry="launch_target.meet", cwd=folder)
        for index in range(2)
    ]
    for index, process in enumerate(processes):
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert out == f"process {index} of 2\n"
        assert f"process {index} of 2 waits up to 300 s for the others at localhost:{port}" in err


def test_without_a_cluster_auto_says_what_to_give(folder, capsys, monkeypatch):
    def initialize(**arguments):
        assert arguments == {"initialization_timeout": 7}
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr("jax.distributed.initialize", initialize)
    flags = ["--gin.MODEL_DIR=a", "--coordinator_address=auto", "--initialization_timeout=7"]
    assert "finds no cluster here; give HOST:PORT" in error_of(capsys, *flags)
