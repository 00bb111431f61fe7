"""XLA's options are checked before a run; its programs are kept between starts, where the user wants them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from llmjp_jax.errors import UserError
from llmjp_jax.parallel import MeshConfig, make_mesh
from llmjp_jax.training import read_metrics, train
from llmjp_jax.training.compilation import check_compiler_options, keep_programs

REPOSITORY = Path(__file__).resolve().parents[2]

# A start of its own: compiled programs of this process would answer for those on disk.
START = """
import json, sys
import jax
from llmjp_jax.checkpoints import CheckpointConfig
from llmjp_jax.models import ModelConfig
from llmjp_jax.training import OptimizerConfig, train
from tests.training.conftest import LLAMA, OPTIMIZER
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name))
given = json.loads(sys.argv[1])
train(model=ModelConfig(**LLAMA), optimizer=OptimizerConfig(**OPTIMIZER), sequence_length=32, batch_size=8, seed=3,
      total_steps=2, mixture_or_task_name="tiny", **given)
print(json.dumps([events.count(f"/jax/compilation_cache/cache_{kind}") for kind in ("hits", "misses")]))
"""


@pytest.fixture
def cache_setting():
    """Gives JAX its settings back."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = {name: getattr(jax.config, name) for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    reset_cache()


@pytest.fixture
def mesh():
    return make_mesh(MeshConfig(), jax.devices()[:1])


@pytest.mark.slow
def test_a_second_start_compiles_nothing_anew_and_has_the_same_losses(
    tmp_path, tiny_cache, tiny_vocabulary
):
    found = {}
    for name in ("first", "second"):
        given = {
            "model_dir": str(tmp_path / name),
            "cache_dir": str(tiny_cache),
            "vocabulary": str(tiny_vocabulary),
        }
        environment = os.environ | {
            "XDG_CACHE_HOME": str(tmp_path / "cache"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "XLA_FLAGS": "",
        }  # fmt: skip
        del environment["JAX_COMPILATION_CACHE_DIR"]
        done = subprocess.run(
            [sys.executable, "-c", START, json.dumps(given)], cwd=REPOSITORY, env=environment,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        files = {path.name for path in (tmp_path / "cache" / "llmjp_jax" / "xla").glob("*-cache")}
        found[name] = (*json.loads(done.stdout.splitlines()[-1]), files)
    hits, misses, files = found["first"]
    assert misses > 0 and any("_step" in name for name in files)
    assert found["second"] == (hits + misses, 0, files)
    losses = [[r.get("loss") for r in read_metrics(tmp_path / n / "metrics.jsonl")] for n in found]
    assert losses[0] == losses[1]
    assert not list((tmp_path / "second").rglob("*-cache"))


def test_the_folder_is_the_users_own_unless_something_else_is_said(
    tmp_path, monkeypatch, cache_setting
):
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert keep_programs("auto", tmp_path / "run") is None
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "llmjp_jax" / "xla")
    assert keep_programs(str(tmp_path / "other"), tmp_path / "run") is None
    assert keep_programs("auto", tmp_path / "run") is None
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "other"), "as JAX has it"
    assert keep_programs(None, tmp_path / "run") is None
    assert jax.config.jax_compilation_cache_dir is None


def test_a_folder_given_later_is_used_at_once(tmp_path, cache_setting):
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    for name in ("one", "two"):
        keep_programs(str(tmp_path / name), tmp_path / "run")
        jax.jit(lambda x, name=name: jnp.sin(x) + len(name))(jnp.ones(7))
        assert list((tmp_path / name).glob("*-cache"))


def test_a_folder_in_the_model_directory_is_refused(tmp_path):
    with pytest.raises(UserError, match="lies in MODEL_DIR; give a folder outside"):
        keep_programs(str(tmp_path / "run" / "cache"), tmp_path / "run")


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"xla_no_such": True}, r"\['xla_no_such'\] = True is refused by XLA for cpu: No such"),
        (
            {"xla_cpu_enable_fast_math": False, "xla_backend_optimization_level": "high"},
            r"\['xla_backend_optimization_level'\] = 'high' is refused .* not a valid int32",
        ),
        ({"xla_cpu_enable_fast_math": [1]}, "must be True, False, a number or a text"),
    ],
)
def test_an_option_that_xla_does_not_know_is_one_sentence_that_names_it(options, sentence, mesh):
    with pytest.raises(UserError, match=sentence):
        check_compiler_options(options, mesh)


def test_options_reach_the_compiler_and_are_recorded_a_lost_cache_is_said_and_both_change_nothing(
    run_arguments, tmp_path, monkeypatch, capsys, cache_setting
):
    given = []
    jit = jax.jit

    def recorded(function, **options):
        given.append((getattr(function, "__name__", ""), options.get("compiler_options")))
        return jit(function, **options)

    monkeypatch.setattr(jax, "jit", recorded)
    (tmp_path / "file").write_text("in the way")
    options, folder = {"xla_cpu_enable_fast_math": False}, str(tmp_path / "file" / "xla")
    state = train(
        **run_arguments
        | {"compiler_options": options, "compilation_cache": folder, "total_steps": 1}
    )
    assert int(state.step) == 1
    assert ("_step", options) in given
    said = [line for line in capsys.readouterr().err.splitlines() if "compiled programs" in line]
    assert len(said) == 1
    assert f"are not kept for the next start: cannot write to {folder} (" in said[0]
    run = json.loads((Path(run_arguments["model_dir"]) / "run.json").read_text())
    assert run["compiler_options"] == options
    assert "compil" not in json.dumps(run["identity"])


def test_unknown_options_stop_a_run_before_anything_is_written(run_arguments):
    with pytest.raises(UserError, match="xla_no_such"):
        train(**run_arguments | {"compiler_options": {"xla_no_such": 1}})
    assert not Path(run_arguments["model_dir"]).exists()
