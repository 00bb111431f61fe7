"""ModelConfig validates itself, and the parameter counts of LLM-jp's models come out to the last digit."""

import dataclasses

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.models import ModelConfig, parameter_count, train_flops_per_token
from llmjp_jax.models.flops import matmul_parameters

GPT2 = {
    "position": "learned",
    "norm": "layernorm",
    "activation": "gelu",
    "bias": True,
    "tied_embeddings": True,
}
LLAMA = {
    "position": "rope",
    "norm": "rmsnorm",
    "activation": "swiglu",
    "bias": False,
    "tied_embeddings": False,
}
TINY = {"vocab_size": 61, "layers": 4, "embed": 32, "heads": 4, "mlp": 48, "max_length": 32}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"heads": 3}, ["heads", "3", "embed=32", "head_dim"]),
        ({"kv_heads": 3}, ["kv_heads", "3", "heads=4"]),
        ({"layers": 0}, ["layers", "0", "at least 1"]),
        ({"embed": 32.0}, ["embed", "32.0", "whole number"]),
        ({"bias": "yes"}, ["bias", "yes", "True or False"]),
        ({"vocab_size": -5}, ["vocab_size", "-5"]),
        ({"vocab_size": True}, ["vocab_size", "True"]),
        ({"position": "alibi"}, ["position", "alibi", "rope"]),
        ({"norm": "batchnorm"}, ["norm", "rmsnorm"]),
        ({"activation": "relu"}, ["activation", "relu", "swiglu"]),
        ({"attention": "flash"}, ["attention", "flash", "blocked"]),
        ({"remat": "half"}, ["remat", "half", "dots"]),
        ({"dtype": "float64"}, ["dtype", "float64", "bfloat16"]),
        ({"dropout": 1.0}, ["dropout", "1.0", "[0, 1)"]),
        ({"attention_dropout": -0.1}, ["attention_dropout", "-0.1"]),
        ({"attention": "xla", "attention_dropout": 0.1}, ["attention_dropout", "blocked"]),
        ({"attention": "splash", "attention_dropout": 0.1}, ["attention_dropout", "blocked"]),
        ({"unroll": 3}, ["unroll", "3", "layers=4"]),
        ({"head_dim": 5}, ["head_dim", "5", "even"]),
        ({"rope_theta": 0.0}, ["rope_theta", "0.0", "positive"]),
        ({"norm_epsilon": -1e-5}, ["norm_epsilon", "-1e-05", "positive"]),
        ({"initializer_std": -0.02}, ["initializer_std", "-0.02", "negative"]),
        ({"loss_chunks": 0}, ["loss_chunks", "0"]),
        ({"vocab_multiple": 0}, ["vocab_multiple", "0"]),
        ({"experts": 1}, ["experts", "1", "None or a whole number of at least 2"]),
        ({"experts": 4, "experts_per_token": 5}, ["experts_per_token", "5", "experts=4"]),
        ({"experts": 4, "experts_per_token": 0}, ["experts_per_token", "0", "from 1"]),
        ({"experts": 4, "activation": "gelu"}, ["activation", "gelu", "swiglu"]),
        ({"experts": 4, "bias": True}, ["bias", "True", "False"]),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_its_value_and_what_it_must_be(change, words):
    with pytest.raises(UserError) as error:
        ModelConfig(**TINY | LLAMA | change)
    for word in ["ModelConfig.", *words]:
        assert word in str(error.value)


def test_defaults_follow_from_other_fields():
    config = ModelConfig(**TINY, **LLAMA)
    assert (config.kv_heads, config.head_dim) == (4, 8)
    assert ModelConfig(**TINY, **GPT2, vocab_multiple=16).padded_vocab_size == 64
    assert (
        ModelConfig(**TINY | {"vocab_size": 64}, **GPT2, vocab_multiple=16).padded_vocab_size == 64
    )


def test_identity_leaves_out_only_how_it_is_computed():
    config = ModelConfig(**TINY, **LLAMA)
    same = dataclasses.replace(
        config,
        dtype="bfloat16",
        attention="xla",
        remat="full",
        unroll=4,
        barriers=True,
        loss_chunks=4,
    )
    assert same.identity() == config.identity()
    assert dataclasses.replace(config, rope_theta=5e5).identity() != config.identity()


@pytest.mark.parametrize(
    ("platform", "change", "attention", "barriers"),
    [
        ("cpu", {}, "blocked", True),
        ("gpu", {}, "xla", False),
        ("gpu", {"dtype": "bfloat16"}, "cudnn", False),
        ("gpu", {"dtype": "bfloat16", "attention_dropout": 0.1}, "blocked", False),
        ("tpu", {"dtype": "bfloat16"}, "splash", False),
        ("tpu", {"attention_dropout": 0.1}, "blocked", False),
        ("tpu", {"attention": "reference", "barriers": True}, "reference", True),
    ],
)
def test_auto_becomes_the_choice_of_the_platform(platform, change, attention, barriers):
    config = ModelConfig(**TINY, **LLAMA, **change).on_platform(platform)
    assert (config.attention, config.barriers) == (attention, barriers)


def test_a_kernel_that_must_be_placed_is_not_chosen_where_places_are_unknown():
    config = ModelConfig(**TINY, **LLAMA).on_platform("tpu", placed=False)
    assert config.attention == "xla"


@pytest.mark.parametrize(
    ("attention", "platform", "needed"),
    [("splash", "cpu", "TPU"), ("splash", "gpu", "TPU"), ("cudnn", "tpu", "GPU"), ("cudnn", "cpu", "GPU")],
)  # fmt: skip
def test_a_backend_that_the_platform_lacks_is_one_sentence(attention, platform, needed):
    config = ModelConfig(**TINY, **LLAMA, attention=attention)
    with pytest.raises(UserError, match=f"{attention}.*{needed}.*{platform}.*auto"):
        config.on_platform(platform)
    # A decoder that is compiled for another machine is made here, with its choice made.
    assert config.on_platform(platform, placed=False).attention == attention


# LLM-jp's vocabularies as Megatron padded them; sizes from the v1.0 and v2.0 training scripts and LLM-jp-3's configs.
V1 = GPT2 | {"vocab_size": 50570, "vocab_multiple": 128, "max_length": 2048}
V2 = LLAMA | {"vocab_size": 96867, "vocab_multiple": 256, "max_length": 4096}
V3 = LLAMA | {"vocab_size": 99487, "max_length": 4096}


def sized(layers, embed, mlp, heads, kv_heads=None):
    return {"layers": layers, "embed": embed, "mlp": mlp, "heads": heads, "kv_heads": kv_heads}


@pytest.mark.parametrize(
    ("fields", "billions"),
    [
        (V1 | sized(24, 2048, 8192, 16), 1.317),
        (V1 | sized(40, 5120, 20480, 40), 12.856),
        (V2 | sized(40, 5120, 13824, 40), 13.682),
    ],
    ids=["v1.0 1.3B", "v1.0 13B", "v2.0 13B"],
)
def test_the_released_models_have_their_published_number_of_parameters(fields, billions):
    assert round(parameter_count(ModelConfig(**fields)) / 1e9, 3) == billions


@pytest.mark.parametrize(
    ("fields", "without_embeddings"),
    [
        (sized(12, 512, 2048, 8), 50_344_448),
        (sized(16, 1024, 3584, 8), 243_303_424),
        (sized(20, 1536, 5376, 8), 684_258_816),
        (sized(24, 2048, 7168, 16), 1_459_718_144),
        (sized(28, 3072, 8192, 24), 3_171_068_928),
        (sized(32, 4096, 11008, 32), 6_476_271_616),
        (sized(40, 5120, 13824, 40), 12_688_184_320),
    ],
    ids=["150M", "440M", "980M", "1.8B", "3.7B", "7.2B", "13B"],
)
def test_llm_jp_3_has_its_model_cards_number_of_parameters(fields, without_embeddings):
    config = ModelConfig(**V3 | fields)
    assert parameter_count(config) - 2 * 99487 * config.embed == without_embeddings


def test_grouped_heads_count_as_published_for_172b():
    config = ModelConfig(**V3 | sized(96, 12288, 38464, 96, 16))
    without_embeddings = parameter_count(config) - 2 * 99487 * config.embed
    assert round(without_embeddings / 1e9, 3) == 169.947


@pytest.mark.parametrize(
    ("fields", "billions", "active"),
    [(sized(24, 2048, 7168, 16), 9.267, 2.721), (sized(40, 5120, 13824, 40), 73.164, 21.693)],
    ids=["8x1.8B", "8x13B"],
)
def test_a_mixture_of_experts_has_all_experts_and_computes_with_two(fields, billions, active):
    config = ModelConfig(**V3 | {"vocab_size": 99584} | fields, experts=8)
    dense = dataclasses.replace(config, experts=None)
    one_expert = 3 * config.embed * config.mlp * config.layers
    router = 8 * config.embed * config.layers
    assert parameter_count(config) == parameter_count(dense) + 7 * one_expert + router
    assert round(parameter_count(config) / 1e9, 3) == billions
    assert matmul_parameters(config) == matmul_parameters(dense) + one_expert + router
    assert round(matmul_parameters(config) / 1e9, 3) == active
    more = train_flops_per_token(config, 4096, causal=True)
    assert more - train_flops_per_token(dense, 4096, causal=True) == 6 * (one_expert + router)


def test_a_plain_model_is_the_same_whatever_experts_per_token_says():
    config = ModelConfig(**TINY, **LLAMA)
    assert dataclasses.replace(config, experts_per_token=1).identity() == config.identity()
    mixture = dataclasses.replace(config, experts=4)
    assert dataclasses.replace(mixture, experts_per_token=1).identity() != mixture.identity()


def test_padding_the_vocabulary_counts_as_parameters():
    padded, bare = (
        ModelConfig(**TINY | GPT2 | {"vocab_multiple": multiple}) for multiple in (16, 1)
    )
    assert parameter_count(padded) - parameter_count(bare) == 3 * 32
