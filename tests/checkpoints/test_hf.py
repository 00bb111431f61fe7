"""Hugging Face checkpoints: what goes in comes out byte for byte, transformers loads it, and damage is named."""

import itertools
import json
import subprocess
import sys

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from llmjp_jax.checkpoints import load_hf, save_hf
from llmjp_jax.errors import UserError
from llmjp_jax.models import Decoder, ModelConfig, disassemble
from llmjp_jax.parallel import MeshConfig, make_mesh, parameter_shardings
from tests import hf_reference
from tests.hf_reference import NAMES, as_tensor, batch, torch, transformers

FAMILIES = ("gpt2_tanh", "llama_grouped")


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """name → directory that transformers wrote."""
    directories = {}
    for name in NAMES:
        directories[name] = tmp_path_factory.mktemp(name)
        hf_reference.make_model(name).save_pretrained(directories[name])
    return directories


@pytest.fixture
def damaged(originals, tmp_path):
    """A function that copies a model, changes config fields and tensors, and gives the directory."""

    def make(name, fields=(), tensors=None):
        values = json.loads((originals[name] / "config.json").read_text()) | dict(fields)
        (tmp_path / "config.json").write_text(json.dumps(values))
        arrays = load_file(originals[name] / "model.safetensors")
        save_file((tensors or dict)(arrays), tmp_path / "model.safetensors")
        return tmp_path

    return make


def leaves(decoder):
    return jax.tree.leaves_with_path(disassemble(decoder))


def assert_same_bytes(first, second):
    for (path, a), (_, b) in zip(leaves(first), leaves(second), strict=True):
        assert a.dtype == b.dtype, path
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_export_gives_back_the_imported_bytes(name, dtype, originals, tmp_path):
    """import → export gives the file's tensors; export → import gives the parameters."""
    source = tmp_path / "source"
    hf_reference.make_model(name).to(getattr(torch, dtype)).save_pretrained(source)
    config, decoder = load_hf(source)
    save_hf(decoder, config, tmp_path / "exported")
    before, after = (
        load_file(source / "model.safetensors"),
        load_file(tmp_path / "exported" / "model.safetensors"),
    )
    assert before.keys() == after.keys()
    for tensor in before:
        assert after[tensor].dtype == before[tensor].dtype == np.dtype(dtype)
        assert after[tensor].tobytes() == before[tensor].tobytes(), tensor
    again, reloaded = load_hf(tmp_path / "exported")
    assert again == config
    assert_same_bytes(reloaded, decoder)


@pytest.mark.parametrize("name", NAMES)
def test_the_export_loads_in_transformers_and_gives_the_same_logits(name, originals, tmp_path):
    config, decoder = load_hf(originals[name])
    save_hf(decoder, config, tmp_path / "exported")
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "exported", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report.values()), report
    tokens = batch()
    with torch.no_grad():
        reference = model.eval()(as_tensor(tokens)).logits.numpy()
    logits = jax.jit(lambda decoder, tokens: decoder(tokens))(decoder, tokens)
    np.testing.assert_allclose(logits, reference, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_shards_hold_no_more_than_asked_and_load_in_both(name, originals, tmp_path):
    config, decoder = load_hf(originals[name])
    save_hf(decoder, config, tmp_path / "whole")
    save_hf(decoder, config, tmp_path / "sharded", max_shard_bytes=20_000)
    shards = sorted((tmp_path / "sharded").glob("*.safetensors"))
    assert len(shards) > 3
    index = json.loads((tmp_path / "sharded" / "model.safetensors.index.json").read_text())
    gathered = {}
    for shard in shards:
        arrays = load_file(shard)
        assert len(arrays) == 1 or sum(a.nbytes for a in arrays.values()) <= 20_000
        assert {index["weight_map"][tensor] for tensor in arrays} == {shard.name}
        gathered |= arrays
    whole = load_file(tmp_path / "whole" / "model.safetensors")
    assert whole.keys() == gathered.keys() == index["weight_map"].keys()
    assert index["metadata"]["total_size"] == sum(a.nbytes for a in whole.values())
    assert_same_bytes(load_hf(tmp_path / "sharded")[1], decoder)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "sharded")
    for tensor, parameter in model.named_parameters():
        np.testing.assert_array_equal(parameter.detach().numpy(), whole[tensor])


def test_experts_have_the_names_that_other_programs_read(originals, tmp_path):
    config, decoder = load_hf(originals["mixtral"])
    save_hf(decoder, config, tmp_path / "sharded", max_shard_bytes=20_000)
    index = json.loads((tmp_path / "sharded" / "model.safetensors.index.json").read_text())
    expert = "model.layers.1.block_sparse_moe.experts.3.w1.weight"
    stored = load_file(tmp_path / "sharded" / index["weight_map"][expert])[expert]
    np.testing.assert_array_equal(stored.T, disassemble(decoder)["blocks"]["mlp"]["gate"][1, 3])
    assert_same_bytes(load_hf(tmp_path / "sharded")[1], decoder)


def test_dtype_casts_and_none_keeps(originals, tmp_path):
    config, decoder = load_hf(originals["llama"], dtype="bfloat16")
    _, full = load_hf(originals["llama"])
    for (path, low), (_, high) in zip(leaves(decoder), leaves(full), strict=True):
        assert low.dtype == ml_dtypes.bfloat16 and high.dtype == np.float32
        np.testing.assert_array_equal(
            np.asarray(high).astype(ml_dtypes.bfloat16), low, err_msg=str(path)
        )
    assert config.dtype == "float32"  # the computation's dtype is another question
    save_hf(full, config, tmp_path / "cast", dtype="bfloat16")
    assert_same_bytes(load_hf(tmp_path / "cast")[1], decoder)
    assert json.loads((tmp_path / "cast" / "config.json").read_text())["dtype"] == "bfloat16"
    with pytest.raises(UserError, match="float64.*float32, bfloat16, float16"):
        load_hf(originals["llama"], dtype="float64")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        *itertools.product(FAMILIES, [{"fsdp": 8}, {"data": 2, "fsdp": 2, "tensor": 2}]),
        ("mixtral", {"fsdp": 2, "expert": 4}),
    ],
)
def test_a_mesh_gets_sharded_parameters_with_the_same_values(name, shape, originals, tmp_path):
    model = hf_reference.make_model(name)
    model.resize_token_embeddings(96)  # a size that the mesh divides
    source = tmp_path / "source"
    model.save_pretrained(source)
    mesh = make_mesh(MeshConfig(**shape))
    config, whole = load_hf(source)
    _, sharded = load_hf(source, mesh=mesh)
    expected = jax.tree.leaves(parameter_shardings(config, mesh))
    spread = 0
    for (path, array), (_, reference), sharding in zip(
        leaves(sharded), leaves(whole), expected, strict=True
    ):
        assert array.sharding == sharding, path
        np.testing.assert_array_equal(array, reference, err_msg=str(path))
        spread += array.addressable_shards[0].data.size < array.size
    assert spread > 5
    save_hf(sharded, config, tmp_path / "exported")
    assert_same_bytes(load_hf(tmp_path / "exported")[1], whole)


def test_tensors_of_a_bare_model_and_old_buffers_are_understood(originals, damaged):
    def bare(arrays):
        arrays = {name.removeprefix("transformer."): array for name, array in arrays.items()}
        return arrays | {
            "h.0.attn.bias": np.ones((1, 1, 32, 32), np.uint8),
            "h.0.attn.masked_bias": np.float32([-1e4]),
        }

    assert_same_bytes(
        load_hf(damaged("gpt2_tanh", (), bare))[1], load_hf(originals["gpt2_tanh"])[1]
    )


def without(name):
    return lambda arrays: {n: a for n, a in arrays.items() if n != name}


def changed(name, change):
    return lambda arrays: arrays | {name: change(arrays[name])}


@pytest.mark.parametrize(
    ("name", "fields", "tensors", "words"),
    [
        ("llama", {}, without("model.layers.1.mlp.up_proj.weight"), ["model.layers.1.mlp.up_proj.weight", "no tensor"]),
        ("llama", {}, lambda a: a | {"model.extra.weight": np.ones(3, np.float32)}, ["model.extra.weight", "not part"]),
        ("llama_variant", {"attention_bias": False, "mlp_bias": False}, dict, ["bias", "not part", "model.safetensors"]),
        ("gpt2_tanh", {}, changed("transformer.h.0.mlp.c_fc.weight", lambda a: np.ascontiguousarray(a.T)),
         ["transformer.h.0.mlp.c_fc.weight", "[128, 32]", "[32, 128]"]),
        ("mixtral", {}, without("model.layers.1.block_sparse_moe.experts.3.w2.weight"), ["experts.3.w2.weight", "no tensor"]),
        ("mixtral", {"num_local_experts": 3}, dict, ["block_sparse_moe.gate.weight", "[4, 48]", "[3, 48]"]),
        ("llama", {"num_hidden_layers": 3}, dict, ["model.layers.2."]),
        ("llama", {"head_dim": 16}, dict, ["q_proj", "[48, 48]", "[96, 48]"]),
        ("llama", {}, changed("model.norm.weight", lambda a: a.astype(np.int8)), ["model.norm.weight", "int8"]),
        ("llama", {}, changed("model.norm.weight", lambda a: a.astype(np.float16)), ["model.norm.weight", "float16", "pass dtype"]),
        ("gpt2_tanh", {}, lambda a: a | {"lm_head.weight": a["transformer.wte.weight"] + 1},
         ["lm_head.weight", "transformer.wte.weight", "tie_word_embeddings"]),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_named_with_their_file(name, fields, tensors, words, damaged):
    directory = damaged(name, fields, tensors)
    with pytest.raises(UserError) as error:
        load_hf(directory)
    assert str(directory) in str(error.value)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


def test_a_head_equal_to_a_tied_embedding_is_accepted(originals, damaged):
    directory = damaged(
        "gpt2_tanh", (), lambda a: a | {"lm_head.weight": a["transformer.wte.weight"]}
    )
    assert_same_bytes(load_hf(directory)[1], load_hf(originals["gpt2_tanh"])[1])


def test_pickles_are_never_loaded(originals, tmp_path):
    (tmp_path / "config.json").write_text((originals["llama"] / "config.json").read_text())
    with pytest.raises(UserError, match="no model.safetensors"):
        load_hf(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match="pytorch_model.bin, a pickle.*save_pretrained"):
        load_hf(tmp_path)


def test_padding_rows_of_the_vocabulary_are_exported(tmp_path):
    config = ModelConfig(
        vocab_size=70, vocab_multiple=16, layers=1, embed=16, heads=2, mlp=32, max_length=8, position="rope",
        norm="rmsnorm", activation="swiglu", bias=False, tied_embeddings=False,
    )  # fmt: skip
    save_hf(Decoder(config), config, tmp_path / "exported")
    assert json.loads((tmp_path / "exported" / "config.json").read_text())["vocab_size"] == 80
    assert load_hf(tmp_path / "exported")[0].vocab_size == 80


_PEAK = """
import os, sys
os.environ["JAX_PLATFORMS"] = "cpu"
import jax
from llmjp_jax.checkpoints import load_hf, save_hf
from llmjp_jax.models import disassemble

def status(field):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

def reset_peak():
    open("/proc/self/clear_refs", "w").write("5")

jax.block_until_ready(jax.numpy.ones(8) + 1)
load_hf(sys.argv[1] + "/small")  # whatever is imported or compiled on the way
start = status("VmRSS"); reset_peak()
config, decoder = load_hf(sys.argv[1] + "/large")
model = sum(a.nbytes for a in jax.tree.leaves(disassemble(decoder)))
loading = status("VmHWM") - start
before = status("VmRSS"); reset_peak()
save_hf(decoder, config, sys.argv[1] + "/exported")
saving = status("VmHWM") - before
print(model, loading, saving)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads peak memory from /proc")
def test_the_host_holds_little_more_than_one_copy(tmp_path):
    """Peak memory of a 300 MB model: loading under 1.5 copies, saving under a quarter of a copy more."""
    shape = {"heads": 8, "max_length": 64, "position": "rope", "norm": "rmsnorm", "activation": "swiglu",
             "bias": False, "tied_embeddings": False}  # fmt: skip
    small = ModelConfig(vocab_size=64, layers=1, embed=32, mlp=32, **shape)
    large = ModelConfig(vocab_size=8192, layers=14, embed=640, mlp=1792, **shape)
    for name, config in (("small", small), ("large", large)):
        save_hf(Decoder(config), config, tmp_path / name)
    run = subprocess.run(
        [sys.executable, "-c", _PEAK, str(tmp_path)], capture_output=True, text=True, check=True
    )
    model, loading, saving = map(int, run.stdout.split())
    assert model > 290e6
    assert loading < 1.5 * model, f"loading took {loading / model:.2f} copies"
    assert saving < 0.25 * model, f"saving took {saving / model:.2f} copies more"
