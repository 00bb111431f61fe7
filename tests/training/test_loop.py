"""A run repeats itself, goes on where it stopped, and refuses what does not belong to it."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

from llmjp_jax.checkpoints import CheckpointConfig, load_run, read_run, saved_steps
from llmjp_jax.errors import UserError
from llmjp_jax.models import ModelConfig, disassemble
from llmjp_jax.parallel import MeshConfig
from llmjp_jax.training import EvaluationConfig, OptimizerConfig, read_metrics, running, train
from tests.training.conftest import GPT2, LLAMA, OPTIMIZER

ONE_DEVICE = MeshConfig(data=8)


def step_losses(model_dir) -> dict[int, float]:
    return {
        r["step"]: r["loss"] for r in read_metrics(Path(model_dir) / "metrics.jsonl") if "loss" in r
    }


def same(a, b) -> bool:
    return all(
        jax.tree.leaves(
            jax.tree.map(lambda x, y: bool((np.asarray(x) == np.asarray(y)).all()), a, b)
        )
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_cache, tiny_vocabulary):
    """A run of six steps with a checkpoint every two, validated every three: its arguments and its last state."""
    arguments = dict(
        model_dir=str(tmp_path_factory.mktemp("finished") / "run"), model=ModelConfig(**LLAMA),
        optimizer=OptimizerConfig(**OPTIMIZER), vocabulary=str(tiny_vocabulary), cache_dir=str(tiny_cache),
        mixture_or_task_name="tiny", sequence_length=32, batch_size=8, total_steps=6, seed=3,
        checkpoints=CheckpointConfig(period=2, keep=None), evaluation=EvaluationConfig(period=3, batches=1),
    )  # fmt: skip
    return arguments, train(**arguments)


def test_the_same_arguments_give_the_same_losses_and_parameters(finished, tmp_path):
    arguments, state = finished
    again = train(**arguments | {"model_dir": str(tmp_path / "again")})
    assert step_losses(arguments["model_dir"]) == step_losses(tmp_path / "again")
    assert same(state, again)
    other = arguments | {"model_dir": str(tmp_path / "other"), "seed": 4}
    train(**other)
    assert step_losses(tmp_path / "other")[6] != step_losses(arguments["model_dir"])[6]


def test_a_run_cut_into_pieces_equals_one_in_one_piece(finished, tmp_path, monkeypatch):
    arguments, state = finished
    pieces = arguments | {"model_dir": str(tmp_path / "pieces")}
    take_step = running.Run.step
    for cut in (3, 5):

        def step_and_die(self, state, batch, step, cut=cut):
            if step > cut:
                raise KeyboardInterrupt
            return take_step(self, state, batch, step)

        monkeypatch.setattr(running.Run, "step", step_and_die)
        with pytest.raises(KeyboardInterrupt):
            train(**pieces)
    monkeypatch.setattr(running.Run, "step", take_step)
    assert same(state, train(**pieces))
    assert step_losses(tmp_path / "pieces") == step_losses(arguments["model_dir"])
    steps = [r["step"] for r in read_metrics(tmp_path / "pieces" / "metrics.jsonl") if "loss" in r]
    assert steps == [1, 2, 3, 4, 5, 6], "every step stands once in metrics.jsonl"


def test_a_finished_run_is_left_as_it_is(finished):
    arguments, state = finished
    before = (Path(arguments["model_dir"]) / "metrics.jsonl").read_bytes()
    assert same(state, train(**arguments))
    assert (Path(arguments["model_dir"]) / "metrics.jsonl").read_bytes() == before


def test_a_run_goes_on_over_another_mesh(finished, tmp_path):
    arguments, _ = finished
    moved = arguments | {"model_dir": str(tmp_path / "moved")}
    train(**moved | {"total_steps": 4, "mesh": MeshConfig(data=8)})
    train(**moved | {"mesh": MeshConfig(data=1, fsdp=4, tensor=2)})
    expected, found = step_losses(arguments["model_dir"]), step_losses(tmp_path / "moved")
    np.testing.assert_allclose(list(found.values()), list(expected.values()), atol=1e-5)


def test_the_run_directory_says_what_the_run_was(finished):
    arguments, state = finished
    directory = Path(arguments["model_dir"])
    run = read_run(directory)
    assert run["identity"]["model"]["embed"] == 32 and run["mesh"]["data"] == 8
    assert run["model"]["attention"] == "auto", "choices for one platform are no part of the model"
    assert run["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(state.parameters))
    assert run["total_tokens"] == 6 * 8 * 32 and run["versions"]["jax"] == jax.__version__
    assert run["data"] == {
        "cache_dir": arguments["cache_dir"], "mixture_or_task_name": "tiny", "sequence_length": 32, "batch_size": 8, "seed": 3,
        "document_mask": False, "order": "windows", "total_steps": 6, "examples": None, "own_files": None,
    }  # fmt: skip
    assert "cache_dir" not in json.dumps(run["identity"]), "a moved cache is no other run"
    assert (directory / "tokenizer.model").read_bytes() == Path(
        arguments["vocabulary"]
    ).read_bytes()
    assert (directory / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert list((directory / "tensorboard").iterdir())
    records = read_metrics(directory / "metrics.jsonl")
    assert [r["step"] for r in records if "validation" in r] == [3, 6]
    assert set(records[-1]["validation"]) == {"tiny_ja", "tiny_en"}
    assert saved_steps(directory) == [2, 4, 6]
    config, decoder = load_run(directory, step=6)
    assert config.identity() == arguments["model"].identity()
    assert same(disassemble(decoder), state.parameters)


def test_old_checkpoints_make_room_and_multiples_of_the_period_to_keep_stay(run_arguments):
    kept = CheckpointConfig(period=1, keep=2, keep_period=3, asynchronous=False)
    train(**run_arguments | {"checkpoints": kept})
    assert saved_steps(run_arguments["model_dir"]) == [3, 5, 6]


def test_a_run_starts_from_the_parameters_of_another(finished, run_arguments):
    arguments, state = finished
    flat = OptimizerConfig(**OPTIMIZER | {"learning_rate": 1e-30, "final_learning_rate": 0.0})
    start = {"initial_checkpoint_path": arguments["model_dir"], "optimizer": flat, "total_steps": 1}
    assert same(state.parameters, train(**run_arguments | start).parameters)


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"model": ModelConfig(**LLAMA | {"mlp": 96})}, r"model\.mlp was 64 and is 96"),
        ({"seed": 5}, "seed was 3 and is 5"),
        ({"batch_size": 16}, r"data\.batch_size was 8 and is 16"),
        ({"mixture_or_task_name": "tiny_ja"}, r"data\.sources\.tiny_en"),
        (
            {"optimizer": OptimizerConfig(**OPTIMIZER | {"beta2": 0.99})},
            r"optimizer\.beta2 was 0.95 and is 0.99",
        ),
        ({"z_loss": 1e-4}, "z_loss"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_changed_run_is_refused_with_the_difference(change, sentence, finished):
    with pytest.raises(UserError, match=sentence):
        train(**finished[0] | change)


def test_a_checkpoint_of_another_model_is_refused_with_the_difference(finished, run_arguments):
    other = {"model": ModelConfig(**GPT2), "initial_checkpoint_path": finished[0]["model_dir"]}
    with pytest.raises(UserError, match="another model: activation 'swiglu' there, 'gelu' here"):
        train(**run_arguments | other)
    assert not Path(run_arguments["model_dir"]).exists()


def test_another_vocabulary_than_the_stores_is_refused(run_arguments, tmp_path):
    from llmjp_jax.tokenizer import train_unigram
    from tests.conftest import tiny_documents

    texts = [text for name in ("tiny_ja", "tiny_en") for text in tiny_documents(name, 500)]
    train_unigram(texts, tmp_path / "other.model", vocab_size=390)
    with pytest.raises(UserError, match="built with vocabulary"):
        train(**run_arguments | {"vocabulary": str(tmp_path / "other.model")})
    assert not Path(run_arguments["model_dir"]).exists()


def test_a_vocabulary_larger_than_the_model_is_refused(run_arguments):
    with pytest.raises(UserError, match="ModelConfig.vocab_size to 400"):
        train(**run_arguments | {"model": ModelConfig(**LLAMA | {"vocab_size": 300})})


def test_a_model_directory_that_cannot_be_written_is_one_sentence(run_arguments, tmp_path):
    from llmjp_jax.errors import place_error

    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError) as caught:
        train(**run_arguments | {"model_dir": str(tmp_path / "file" / "run")})
    assert "is a file, not a folder" in place_error(caught.value) or "cannot write" in place_error(
        caught.value
    )


def test_a_loss_that_is_not_finite_ends_the_run_before_it_is_saved(run_arguments):
    hot = OptimizerConfig(
        **OPTIMIZER | {"learning_rate": 1e30, "warmup_steps": 0, "clip_norm": 1e30}
    )
    with pytest.raises(FloatingPointError, match="the (loss|gradient_norm) of step"):
        train(
            **run_arguments
            | {"optimizer": hot, "checkpoints": CheckpointConfig(period=1, asynchronous=False)}
        )
    if saved_steps(run_arguments["model_dir"]):
        _, decoder = load_run(run_arguments["model_dir"])
        leaves = jax.tree.leaves(disassemble(decoder))
        assert all(np.isfinite(leaf).all() for leaf in leaves)


def test_a_gradient_that_is_not_finite_ends_the_run_before_it_is_saved(run_arguments, monkeypatch):
    clip = OptimizerConfig.clip

    def overflow(self, gradients):
        gradients, norm = clip(self, gradients)
        return jax.tree.map(lambda gradient: gradient * np.inf, gradients), norm * np.inf

    monkeypatch.setattr(OptimizerConfig, "clip", overflow)
    with pytest.raises(FloatingPointError, match="gradient_norm of step 1 is inf"):
        train(**run_arguments | {"checkpoints": CheckpointConfig(period=1)})
    assert saved_steps(run_arguments["model_dir"]) == []


def test_a_folder_that_holds_something_else_is_left_alone(run_arguments):
    directory = Path(run_arguments["model_dir"])
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"holds other files \(config.json\) and no run"):
        train(**run_arguments)
    assert [path.name for path in directory.iterdir()] == ["config.json"]


def test_fewer_steps_than_were_taken_are_refused(finished):
    with pytest.raises(UserError, match="already at step 6, beyond total_steps = 4"):
        train(**finished[0] | {"total_steps": 4})


def test_an_initial_checkpoint_loads_over_a_changed_layout(finished, run_arguments):
    spread = {
        "mesh": MeshConfig(data=2, tensor=4), "layout": {"kv_heads": None}, "total_steps": 1,
        "initial_checkpoint_path": finished[0]["model_dir"],
    }  # fmt: skip
    train(**run_arguments | spread)
    with pytest.raises(UserError, match="kv_heads = 2 is not divisible"):
        other = {"layout": None, "model_dir": run_arguments["model_dir"] + "2"}
        train(**run_arguments | spread | other)


def test_the_step_makes_no_hidden_transfer(run_arguments, monkeypatch):
    """`Run.step` forbids them; a batch left on the host must therefore be an error."""
    monkeypatch.setattr(
        running.Trainer, "put", lambda self, batch: {f: batch[f] for f in self.batch_fields}
    )
    with pytest.raises(Exception, match="[Dd]isallowed"):
        train(**run_arguments)


def test_metrics_survive_a_line_cut_short_but_not_a_broken_one(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    assert read_metrics(path) == [{"step": 1, "loss": 2.0}]
    path.write_text('{"step": 1, "lo\n{"step": 2, "loss": 2.0}\n')
    with pytest.raises(UserError, match="metrics.jsonl line 1 is not JSON"):
        read_metrics(path)


def test_a_checkpoint_with_a_part_missing_is_one_sentence(run_arguments):
    train(**run_arguments)
    directory = Path(run_arguments["model_dir"])
    for file in (directory / "checkpoints" / "6" / "parameters").rglob("*"):
        if file.is_file():
            file.unlink()
    with pytest.raises(UserError, match="damaged"):
        load_run(directory)


def test_a_run_directory_of_a_newer_version_is_one_sentence(finished, tmp_path):
    run = read_run(finished[0]["model_dir"])
    run["model"]["novelty"] = 1
    (tmp_path / "run.json").write_text(json.dumps(run))
    with pytest.raises(UserError, match="novelty"):
        load_run(tmp_path)
    with pytest.raises(UserError, match="not a run directory"):
        load_run(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "config, field", [(CheckpointConfig, "period"), (EvaluationConfig, "batches")]
)
def test_settings_name_the_field_that_is_wrong(config, field):
    assert field in {f.name for f in dataclasses.fields(config)}
    with pytest.raises(UserError, match=field):
        config(**{field: 0})


def test_tensorboard_reads_each_step_once_after_a_restart(run_arguments):
    from tensorboardX.proto.event_pb2 import Event

    train(**run_arguments | {"checkpoints": CheckpointConfig(period=3), "total_steps": 3})
    train(**run_arguments | {"checkpoints": CheckpointConfig(period=3)})
    steps, starts = {}, []
    for file in sorted((Path(run_arguments["model_dir"]) / "tensorboard").iterdir()):
        data = file.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + size])
            data = data[16 + size :]
            if event.HasField("session_log"):
                starts.append(event.step)
            for value in event.summary.value:
                if value.tag == "loss":
                    steps[event.step] = value.simple_value
    assert starts == [1, 4]
    assert steps == pytest.approx(step_losses(run_arguments["model_dir"]))
