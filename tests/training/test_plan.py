"""A plan says what a run takes: estimates by hand, XLA's own figures, and what to change where it does not fit."""

import dataclasses
import importlib.util

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.models import ModelConfig, parameter_count
from llmjp_jax.parallel import MeshConfig
from llmjp_jax.training import OptimizerConfig, plan, plan_compile, plan_search
from llmjp_jax.training.plan_compile import Compiled, Refused, refusal
from llmjp_jax.training.plan_job import Job
from llmjp_jax.training.plan_memory import Share, bytes_per_device
from llmjp_jax.training.plan_roofline import Roofline, executed_flops, expected_collectives
from llmjp_jax.training.plan_search import (
    Candidate,
    Tried,
    candidates,
    distance,
    in_order,
    memory_limit,
    nearest,
    ranked,
)
from tests.training.conftest import LLAMA, OPTIMIZER

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed (extra 'tpu')"
)
MODEL = LLAMA | {"embed": 256, "heads": 4, "kv_heads": 4, "mlp": 512, "max_length": 1024}
GIB = 2**30
COMPILED = Compiled(
    arguments=1, temporaries=1, peak=2, trace_seconds=0, compile_seconds=0, collectives=[],
    rematerialized=[],
)  # fmt: skip


def make_job(model: dict | None = None, mesh: dict | None = None, **changes) -> Job:
    mesh = mesh or {"topology": "v5e:2x2", "data": 1, "fsdp": 2, "tensor": 2}
    options = {
        "batch_size": 16,
        "sequence_length": 256,
        "accumulation": 2,
        "total_steps": 10,
    } | changes
    return Job.of(
        {
            "model": ModelConfig(
                **MODEL | {"dtype": "bfloat16", "attention": "xla"} | (model or {})
            ),
            "optimizer": OptimizerConfig(**OPTIMIZER),
            "mesh": MeshConfig(**mesh),
            "model_dir": "not needed",
            **options,
        }
    )


def silent(text: str) -> None:
    """No progress."""


def test_without_a_topology_the_estimate_stands_alone_and_says_so():
    job = make_job(mesh={"data": 1, "fsdp": -1, "device_kind": "NVIDIA H200", "device_count": 8})
    lines, records = plan.plan(job, silent, silent)
    text = "\n".join(lines)
    assert records == []
    assert f"{parameter_count(job.model):,} parameters" in text
    assert "8 x NVIDIA H200" in text and "of 131.32 GiB" in text and "at 40% of 989 TFLOP/s" in text
    assert "not asked: NVIDIA H200 is no TPU topology; memory above is an estimate alone" in text
    assert lines[-1].startswith("verdict          fits by estimate")


def test_without_a_topology_a_step_too_large_by_the_estimate_is_refused():
    mesh = {"data": 1, "fsdp": -1, "device_kind": "NVIDIA H200", "device_count": 1}
    job = make_job({"layers": 4000}, mesh, accumulation=1)
    with pytest.raises(UserError, match="by estimate the step does not fit: .* of 131.3 GiB"):
        plan.plan(job, silent, silent)


def test_data_sets_in_turn_and_a_second_decay_are_shown_by_their_steps():
    optimizer = OptimizerConfig(
        **OPTIMIZER, cooldown_start=6, cooldown_steps=4, cooldown_learning_rate=0.0
    )
    job = make_job(
        mesh={"data": 1},
        mixture_or_task_name=(("one", 3), ("two", 3), ("three", 9)),
        optimizer=optimizer,
    )
    text = "\n".join(plan.run_lines(job))
    assert "one: steps 0 to 3\n" in text and "two: steps 3 to 6\n" in text
    assert "three: steps 6 to 10 (9 were asked for)\n" in text
    assert "second decay     steps 6 to 10, of 10\n" in text


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"order": "megatrn"}, "train.order = 'megatrn' must be one of windows, megatron"),
        ({"total_steps": 0}, "total_steps = 0"),
        ({"router_loss": 0.1}, "router_loss = 0.1"),
        ({"seed": -1}, "seed = -1"),
        ({"mixture_or_task_name": (("one", 3), "two")}, "pairs of a name and its number of steps"),
    ],
)
def test_what_a_run_would_refuse_its_plan_refuses(changes, sentence):
    with pytest.raises(UserError, match=sentence):
        make_job(**changes)


def test_what_is_kept_of_a_block_is_the_stream_or_more():
    mesh = {"topology": "v5e:2x2", "data": 1, "fsdp": 4}
    kept = {}
    for remat in ("full", "dots", "none"):
        memory = bytes_per_device(make_job({"remat": remat}, mesh, accumulation=1))
        (kept[remat],) = [size for kind, size in memory.items() if kind.startswith("kept")]
    rows, length, embed, layers, bfloat16 = 4, 256, 256, 2, 2
    stream = layers * rows * length * embed * bfloat16
    assert kept["full"] == stream
    # the stream, the attention's and the MLP's output; query, key, value; gate and up, twice as wide
    assert kept["dots"] == stream * (3 + 3 + 2 * 2)
    assert kept["none"] > kept["dots"]


def test_parts_of_a_batch_and_more_devices_leave_less_on_each():
    def total(*args, **kwargs):
        return sum(bytes_per_device(make_job(*args, **kwargs)).values())

    asked = {"remat": "full"}
    whole = total(asked, accumulation=1)
    assert total(asked, accumulation=4) < whole
    assert (
        total(asked, {"topology": "v5e:4x4", "data": 1, "fsdp": 8, "tensor": 2}, accumulation=1)
        < whole
    )
    assert total(asked | {"attention": "reference"}, accumulation=1) > whole


def test_arithmetic_of_a_step_by_hand():
    job = make_job({"layers": 3, "vocab_size": 512})
    embed, mlp, length = 256, 512, 256
    kernels = 4 * embed * embed + 3 * embed * mlp
    scores = (
        2 * 2 * length * embed
    )  # query by key, weights by value: 2 FLOPs each, all of the square
    forward = 3 * (2 * kernels + scores) + 2 * embed * 512
    tokens = 16 * 256
    assert executed_flops(job) == pytest.approx(3 * forward * tokens)
    again = job.changed(model={"remat": "full"})
    assert executed_flops(again) == pytest.approx(
        (3 * forward + 3 * (2 * kernels + scores)) * tokens
    )


def test_a_step_lies_between_all_at_once_and_one_after_another():
    times = Roofline(
        compute=2.0, memory=1.0, links=3.0, network=0.5, model_flops=4e12, peak_flops=2e12
    )
    assert (times.overlapped, times.in_turn, times.bound) == (3.0, 6.5, "links")
    assert times.utilisation(4.0) == 0.5
    unknown = dataclasses.replace(times, network=None)
    assert unknown.in_turn == 6.0


@pytest.mark.parametrize(
    "message, needed, available",
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (26.51G) "
            "exceeds available HBM (15.75G).",
            26.51, 15.75,
        ),
        (
            "INTERNAL: RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 17.31G of 15.75G hbm. Exceeded",
            17.31, 15.75,
        ),
        ("RESOURCE_EXHAUSTED: something new", None, None),
    ],
    ids=["before", "after", "unknown"],
)  # fmt: skip
def test_a_refusal_keeps_xla_s_sentence_and_its_figures(message, needed, available):
    found = refusal(message + "\nmore lines", 1.0)
    assert found.message == message[message.index("RESOURCE") :]
    assert found.needed == (None if needed is None else pytest.approx(needed * GIB))
    assert found.available == (None if available is None else pytest.approx(available * GIB))


def test_the_nearest_layout_changes_the_run_least():
    asked = make_job()
    remat = asked.changed(model={"remat": "full"})
    parts = asked.changed(accumulation=4)
    tensor = asked.changed(mesh={"fsdp": 1, "tensor": 4})
    assert distance(asked, asked) == 0
    assert distance(asked, parts) == 1 < distance(asked, remat) == 2 < distance(asked, tensor)


@needs_libtpu
def test_a_search_ranks_the_layouts_that_fit_by_their_expected_time():
    job = make_job({"remat": "none"}, sequence_length=1024, batch_size=4096, accumulation=1)
    found = candidates(job)
    assert found and all(one.memory <= 1.05 * memory_limit(job) for one in found)
    assert {one.job.model.remat for one in found} == {"none", "dots", "full"}
    assert not any(
        one.job.sizes["tensor"] == 1 and one.job.accumulation == 1 and one.job.model.remat == "none"
        for one in found
    ), "4096 rows at once do not fit"
    order = [one.expected.in_turn for one in ranked(found)]
    assert order == sorted(order) and len(order) < len(found)


def test_what_xla_refused_comes_after_what_fits_and_faster_comes_first():
    def tried(links):
        candidate = Candidate(make_job(), 1, None)
        if links is None:
            return Tried(
                candidate, Refused(message="", needed=1, available=1, compile_seconds=1), None
            )
        return Tried(candidate, None, Roofline(1, 1, links, 0, 1e12, 1e12))

    order = in_order([tried(None), tried(3.0), tried(1.0), tried(2.0)])
    assert [one.reached and one.reached.links for one in order] == [1.0, 2.0, 3.0, None]


@needs_libtpu
@pytest.mark.slow
def test_the_step_is_compiled_for_a_slice_that_is_not_there():
    job = make_job({"remat": "full", "loss_chunks": 2})
    said = []
    lines, (record,) = plan.plan(job, said.append, silent)
    text = "\n".join(lines)
    assert "4 x TPU v5 lite (1 x v5e:2x2): fsdp 2, tensor 2" in text
    assert record["fits"] and 0 < record["xla"]["arguments"] < record["xla"]["peak"] < 0.1 * GIB
    assert record["estimated_bytes"] < memory_limit(job)
    kinds = {one["kind"]: one for one in record["collectives"]}
    # Kernels are gathered in each of two layers and two parts, forward and backward.
    assert kinds["all-gather"]["runs"] >= 2 * 2 * 7
    assert all(one["certain"] for one in record["collectives"])
    assert record["xla"]["rematerialized"] == []
    assert "of 15.75: fits" in text and "compiled in" in text and "step" in text
    assert said[0].startswith("compiling")


@needs_libtpu
def test_a_step_that_does_not_fit_is_refused_with_xla_s_figure_and_the_nearest_layout(monkeypatch):
    # XLA itself refuses, which takes seconds; that it accepts the next takes it a minute, and is taken for granted here.
    asked = []

    def compile_step(job, say):
        asked.append(job)
        return plan_compile.compile_step(job, say) if len(asked) == 1 else COMPILED

    monkeypatch.setattr(plan_search, "compile_step", compile_step)
    job = make_job(
        {"remat": "full", "embed": 2048, "heads": 16, "kv_heads": 16, "mlp": 16384, "layers": 8},
        {"topology": "v5e:2x2", "data": 4}, sequence_length=128, accumulation=1,
    )  # fmt: skip
    shown = []
    with pytest.raises(UserError) as caught:
        plan.plan(job, silent, shown.append)
    sentence = str(caught.value)
    assert any("at the fullest moment" in line for line in shown), "the estimate comes first"
    assert "does not fit v5e:2x2: XLA says 'RESOURCE_EXHAUSTED" in sentence
    assert "(15.75G)" in sentence or "of 15.75G" in sentence
    assert "the nearest layout that fits is" in sentence
    assert "parallel.MeshConfig.fsdp = 2" in sentence, "parameters, not activations, are too much"
    assert "\n" not in sentence


@needs_libtpu
def test_the_nearest_layout_is_the_closest_that_xla_accepts(monkeypatch):
    # A search goes through meshes from whole products on, so the nearest ones come late in it.
    mesh = {"topology": "v5e:2x2", "data": 1, "fsdp": 1, "tensor": 4}
    job = make_job({"remat": "dots"}, mesh, sequence_length=1024, batch_size=512, accumulation=2)
    asked = []

    def compile_step(job, say):
        asked.append(job)
        if len(asked) < 3:
            return Refused(message="too much", needed=1, available=1, compile_seconds=0)
        return COMPILED

    monkeypatch.setattr(plan_search, "compile_step", compile_step)
    found = nearest(job, silent)
    assert found.candidate.job is asked[2]
    steps = [distance(job, one) for one in asked]
    assert steps == sorted(steps) and 0 < steps[0] <= 1, steps
    asked.clear()
    assert nearest(job, silent, most=2) is None


def test_a_topology_and_replicas_without_a_number_are_one_sentence():
    with pytest.raises(UserError, match="it is the number of slices"):
        make_job(mesh={"topology": "v5e:2x2", "replica": -1, "data": 1})
    with pytest.raises(UserError, match="does not divide the 4 devices"):
        make_job(mesh={"topology": "v5e:2x2", "data": 1, "fsdp": 8})


def test_a_dry_run_prints_the_plan(capsys):
    job = make_job(mesh={"data": 2, "device_kind": "cpu"})
    plan.dry_run(**job.options, mesh=job.mesh, total_steps=10, model_dir="x")
    printed = capsys.readouterr().out
    assert "10 of 16 x 256 tokens (2 parts each)" in printed and "no data sheet's peak" in printed


@needs_libtpu
@pytest.mark.parametrize(
    "topology, fsdp, gather, scatter",
    [
        ("v4:2x2x2", 4, "all-gather", "reduce-scatter"),
        ("v4:2x2x2", 8, "all-reduce", "all-reduce"),
        ("v5e:2x4", 8, "all-gather", "all-reduce"),
    ],
)
def test_a_group_that_is_the_whole_machine_sums_whole_arrays(topology, fsdp, gather, scatter):
    job = make_job(mesh={"topology": topology, "data": -1, "fsdp": fsdp}, accumulation=1)
    kinds = {one.operation: one.kind for one in expected_collectives(job)}
    assert (kinds["kernels"], kinds["gradients of kernels"]) == (gather, scatter)


def test_experts_hold_the_tokens_of_their_group_for_each_that_was_chosen():
    mesh = {"topology": "v5e:2x2", "data": 1, "fsdp": 2, "expert": 2}
    plain = make_job({"remat": "full"}, mesh, accumulation=1)
    mixed = plain.changed(model={"experts": 4, "experts_per_token": 2})
    share = Share(mixed)
    tokens, embed, mlp, bfloat16 = 4 * 256, 256, 512, 2
    assert share.mlp(1) == 2 * 2 * tokens * mlp * bfloat16
    assert Share(plain).mlp(1) == tokens * mlp * bfloat16
    # gate, up and down of four experts over two devices, and the router
    router = 4 * embed * bfloat16
    assert (
        share.layer_kernels() == Share(plain).layer_kernels() + 3 * embed * mlp * bfloat16 + router
    )
