"""PEFT adapters, both ways, against peft itself on small models; and adapters that are refused, in one sentence."""

import dataclasses
import json
import warnings

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from llmjp_jax.checkpoints import load_hf, load_model, load_peft, merged, save_hf, save_peft
from llmjp_jax.errors import UserError
from llmjp_jax.models import (
    LoraConfig,
    abstract_decoder,
    adapters_of,
    assemble,
    disassemble,
    initialize,
    join,
    without_adapters,
)
from tests import hf_reference
from tests.hf_reference import as_tensor, batch, torch, transformers

peft = pytest.importorskip("peft", reason="peft is the reference of these tests; install the dev extra")  # fmt: skip

LLAMA_ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head", "embed_tokens"]  # fmt: skip
CASES = {
    "gpt2": ("gpt2_tanh", ["c_attn", "c_proj", "c_fc"], {}),
    "gpt2 attention": ("gpt2_erf", ["c_attn", "attn.c_proj"], {}),
    "gpt2 untied": ("gpt2_untied", ["mlp.c_proj", "lm_head", "wte"], {}),
    "llama": ("llama", LLAMA_ALL[:7], {"use_rslora": True}),
    "llama all": ("llama_grouped", LLAMA_ALL, {}),
    "llama biases": ("llama_variant", ["q_proj", "v_proj", "down_proj"], {}),
    "mixtral": ("mixtral", ["q_proj", "k_proj", "v_proj", "o_proj"], {}),
}


@pytest.fixture(scope="module", params=CASES)
def theirs(request, tmp_path_factory):
    """(directory of the base, directory of the adapter, peft's logits) of an adapter that peft made and wrote."""
    name, modules, options = CASES[request.param]
    folder = tmp_path_factory.mktemp("peft")
    hf_reference.make_model(name).save_pretrained(folder / "base")
    base = load_torch(folder / "base")
    torch.manual_seed(0)
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", r=4, lora_alpha=6, lora_dropout=0.05, target_modules=modules,
        init_lora_weights=False, fan_in_fan_out=name.startswith("gpt2"), **options,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = peft.get_peft_model(base, config).eval()
        with torch.no_grad():
            for parameter in (p for n, p in model.named_parameters() if "lora_" in n):
                parameter.copy_(torch.randn_like(parameter) * 0.1)
        model.save_pretrained(folder / "adapter")
    return folder / "base", folder / "adapter", torch_logits(model)


def load_torch(directory):
    return transformers.AutoModelForCausalLM.from_pretrained(directory, attn_implementation="eager").eval()  # fmt: skip


def torch_logits(model):
    with torch.no_grad():
        return model.eval()(as_tensor(batch())).logits.numpy()


def logits(decoder):
    return jax.jit(lambda decoder, tokens: decoder(tokens))(decoder, batch())


# Theirs here


def test_pefts_adapter_gives_pefts_logits_unmerged_and_merged(theirs):
    _, adapter, expected = theirs
    config, decoder = load_peft(adapter)
    np.testing.assert_allclose(logits(decoder), expected, rtol=0, atol=1e-5)
    config, decoder = merged(config, decoder)
    assert config.lora is None and adapters_of(disassemble(decoder)) == {}
    np.testing.assert_allclose(logits(decoder), expected, rtol=0, atol=1e-5)


def test_the_merged_export_is_pefts_merged_model(theirs, tmp_path):
    base, adapter, _ = theirs
    config, decoder = merged(*load_model(adapter))
    save_hf(decoder, config, tmp_path / "merged")
    model = peft.PeftModel.from_pretrained(load_torch(base), adapter).merge_and_unload()
    reference = torch_logits(model)
    np.testing.assert_allclose(
        torch_logits(load_torch(tmp_path / "merged")), reference, rtol=0, atol=1e-5
    )


# Ours there


def test_our_export_of_their_adapter_loads_in_peft_and_gives_the_same_logits(theirs, tmp_path):
    base, adapter, expected = theirs
    config, decoder = load_peft(adapter)
    save_peft(decoder, config, tmp_path / "ours", str(base))
    np.testing.assert_allclose(in_peft(base, tmp_path / "ours"), expected, rtol=0, atol=1e-5)
    again, reloaded = load_peft(tmp_path / "ours")
    assert again == config
    for a, b in zip(jax.tree.leaves(disassemble(reloaded)), jax.tree.leaves(disassemble(decoder)), strict=True):  # fmt: skip
        assert np.array_equal(a, b)


def in_peft(base, adapter):
    """peft's logits of an adapter; every tensor must find its place."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing adapter keys.*")
        return torch_logits(peft.PeftModel.from_pretrained(load_torch(base), adapter))


@pytest.mark.parametrize(
    "name, targets, modules",
    [
        ("gpt2_erf", ("output",), ["attn.c_proj"]),
        ("gpt2_erf", ("down", "query_key_value"), ["c_attn", "mlp.c_proj"]),
        ("llama_grouped", ("query_key_value", "gate"), ["q_proj", "k_proj", "v_proj", "gate_proj"]),
    ],
)
def test_adapters_that_were_trained_here_load_in_peft(name, targets, modules, tmp_path):
    """A Llama's shared A is written three times."""
    hf_reference.make_model(name).save_pretrained(tmp_path / "base")
    config, decoder = load_hf(tmp_path / "base")
    config = dataclasses.replace(config, lora=LoraConfig(rank=3, alpha=4.5, targets=targets))
    adapters = jax.tree.map(
        lambda leaf: 0.1 * jax.random.normal(jax.random.key(leaf.size), leaf.shape),
        adapters_of(initialize(config, 0)),
    )
    model = assemble(abstract_decoder(config)[0], join(disassemble(decoder), adapters))
    save_peft(model, config, tmp_path / "adapter", str(tmp_path / "base"))
    fields = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert sorted(fields["target_modules"]) == sorted(modules) and fields["lora_alpha"] == 4.5
    expected = logits(model)
    assert np.abs(expected - logits(decoder)).max() > 0.05
    np.testing.assert_allclose(in_peft(tmp_path / "base", tmp_path / "adapter"), expected, rtol=0, atol=1e-5)  # fmt: skip
    _, reloaded = load_model(tmp_path / "adapter")
    np.testing.assert_allclose(logits(reloaded), expected, rtol=0, atol=1e-6)


# What is refused


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A directory with `base` and `adapter` on queries, ours."""
    folder = tmp_path_factory.mktemp("llama")
    hf_reference.make_model("llama").save_pretrained(folder / "base")
    config, decoder = load_hf(folder / "base")
    config = dataclasses.replace(config, lora=LoraConfig(rank=2, alpha=2, targets=("query", "head")))  # fmt: skip
    adapters = adapters_of(initialize(config, 0))
    model = assemble(abstract_decoder(config)[0], join(disassemble(decoder), adapters))
    save_peft(model, config, folder / "adapter", "../base")
    return folder


@pytest.fixture
def changed(llama, tmp_path):
    """changed(fields, tensors) → a copy of the adapter with other fields and tensors."""

    def make(fields=(), tensors=None):
        values = json.loads((llama / "adapter" / "adapter_config.json").read_text())
        values |= {"base_model_name_or_path": str(llama / "base")} | dict(fields)
        (tmp_path / "adapter_config.json").write_text(json.dumps(values))
        arrays = load_file(llama / "adapter" / "adapter_model.safetensors")
        save_file((tensors or dict)(arrays), tmp_path / "adapter_model.safetensors")
        return tmp_path

    return make


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"use_dora": True}, "use_dora = True is not computed here"),
        ({"bias": "all"}, "bias = 'all' trains biases"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save = .* is not computed here"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern = .* is not computed here"),
        ({"alpha_pattern": {"q_proj": 4}}, "alpha_pattern = .* is not computed here"),
        ({"layers_to_transform": [0]}, "layers_to_transform = .* is not computed here"),
        ({"some_new_variant": {"x": 1}}, "some_new_variant = .* is not computed here"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights = 'pissa' changes the model"),
        ({"peft_type": "IA3"}, "peft_type = 'IA3' is not 'LORA'"),
        ({"r": "8"}, "r = '8' must be a number"),
        ({"r": 3}, r"lora_A.weight has shape \[2, 48\], .* ask for \[3, 48\]"),
        ({"lora_alpha": -1}, "lora_alpha = -1"),
        ({"base_model_name_or_path": None}, "names no base_model_name_or_path"),
        ({"base_model_name_or_path": "llm-jp/gone"}, "is not at llm-jp/gone"),
    ],
)
def test_what_is_not_computed_here_is_one_sentence(fields, words, changed):
    with pytest.raises(UserError, match=words):
        load_model(changed(fields))


QUERY = "base_model.model.model.layers.{}.self_attn.q_proj.lora_{}.weight"


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda a: {n: x for n, x in a.items() if ".layers.1." not in n}, "no tensor .*layers.1.*q_proj"),
        (lambda a: a | {QUERY.format(7, "A"): a[QUERY.format(0, "A")]}, "layers.7.*is no adapter of a matrix"),
        (lambda a: a | {"base_model.model.model.norm.weight": np.ones(48, np.float32)}, "norm.weight is no adapter"),
        (lambda a: {"x": np.ones(2, np.float32)}, "no adapter of a matrix of this model"),
        (lambda a: a | {"base_model.model.lm_head.base_layer.weight": np.ones((97, 48), np.float32)}, "is not the base's"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_named(change, words, changed):
    with pytest.raises(UserError, match=words):
        load_model(changed(tensors=change))


def test_a_pickled_adapter_is_never_loaded(changed):
    directory = changed()
    (directory / "adapter_model.safetensors").unlink()
    (directory / "adapter_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(UserError, match="adapter_model.bin is a pickle"):
        load_model(directory)


def test_adapters_that_peft_cannot_express_and_whole_models_are_refused(llama, tmp_path):
    config, decoder = load_model(llama / "adapter")
    with pytest.raises(UserError, match="save_hf writes whole models; merge"):
        save_hf(decoder, config, tmp_path / "hf")
    plain, whole = load_hf(llama / "base")
    with pytest.raises(UserError, match="save_peft needs a model with adapters"):
        save_peft(whole, plain, tmp_path / "adapter", "base")
    hf_reference.make_model("gpt2_tanh").save_pretrained(tmp_path / "gpt2")
    config, decoder = load_hf(tmp_path / "gpt2")
    config = dataclasses.replace(config, lora=LoraConfig(rank=2, alpha=2, targets=("query", "up")))
    model = assemble(abstract_decoder(config)[0], initialize(config, 0))
    with pytest.raises(UserError, match="gpt2 has no matrix of its own for query, .* query_key_value"):  # fmt: skip
        save_peft(model, config, tmp_path / "adapter", "base")
    assert not (tmp_path / "adapter").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    config, decoder = load_model(llama / "adapter")
    with pytest.raises(UserError, match="not an earlier export"):
        save_peft(decoder, config, tmp_path / "full", "base")
    assert without_adapters(disassemble(decoder)).keys() == disassemble(whole).keys()
