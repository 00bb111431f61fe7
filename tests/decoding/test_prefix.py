"""What prompts share is read once, and changes nothing: tokens, hidden states, penalties, compilations, meshes."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from llmjp_jax.checkpoints import load_hf
from llmjp_jax.decoding import Sampling, generate, loop, stream
from llmjp_jax.decoding.prompts import bucket_length, shared_length
from llmjp_jax.models import Decoder, ModelConfig, abstract_decoder, assemble, disassemble
from llmjp_jax.models.cache import each_layer, shared_prefix
from llmjp_jax.parallel import MeshConfig, make_mesh, parameter_shardings

SAMPLED = Sampling(temperature=0.9, top_p=0.95, top_k=60, repetition_penalty=1.2)
SIZES = {"layers": 2, "embed": 32, "heads": 4, "mlp": 64, "max_length": 192, "initializer_std": 0.3}
GPT2 = ModelConfig(vocab_size=100, position="learned", norm="layernorm", activation="gelu_tanh",
                   bias=True, tied_embeddings=True, **SIZES)  # fmt: skip
LLAMA = ModelConfig(vocab_size=100, vocab_multiple=64, kv_heads=2, position="rope", norm="rmsnorm", activation="swiglu",
                    bias=False, tied_embeddings=False, **SIZES)  # fmt: skip
MIXTRAL = ModelConfig(vocab_size=100, kv_heads=2, position="rope", norm="rmsnorm", activation="swiglu", bias=False,
                      tied_embeddings=False, experts=4, **SIZES)  # fmt: skip
CONFIGS = pytest.mark.parametrize(
    "config", [GPT2, LLAMA, MIXTRAL], ids=["gpt2", "llama", "mixtral"]
)
SHARED = 70


def make_prompts(lengths, shared=SHARED, vocab=100, seed=0) -> list[list[int]]:
    """Prompts that begin alike, with so many tokens of their own; the first of these differ."""
    random = np.random.default_rng(seed)
    before = random.integers(8, vocab, shared).tolist()
    return [
        [*before, 8 + i, *random.integers(8, vocab, length - 1).tolist()]
        for i, length in enumerate(lengths)
    ]


# Against Hugging Face


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def hf_pair(request, tmp_path_factory):
    """A tiny transformers model with random weights, and ours read from its files."""
    torch = pytest.importorskip("torch", reason="torch, the reference, is not installed")
    import transformers

    torch.manual_seed(0)
    ids = {
        "vocab_size": 300,
        "bos_token_id": 1,
        "eos_token_id": 7,
        "pad_token_id": 4,
        "initializer_range": 0.2,
    }
    if request.param == "gpt2":
        config = transformers.GPT2Config(n_embd=48, n_layer=2, n_head=4, n_positions=160, **ids)
        model = transformers.GPT2LMHeadModel(config)
    else:
        config = transformers.LlamaConfig(hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                                          num_key_value_heads=2, max_position_embeddings=160, **ids)  # fmt: skip
        model = transformers.LlamaForCausalLM(config)
    directory = tmp_path_factory.mktemp(request.param)
    model.eval().save_pretrained(directory)
    return model, load_hf(directory)[1]


def hf_greedy(model, prompts, count: int) -> list[list[int]]:
    """What transformers' generate gives for left-padded prompts, up to and with eos."""
    import torch

    width = max(map(len, prompts))
    tokens = torch.tensor([[4] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    output = model.generate(tokens, attention_mask=mask, do_sample=False, max_new_tokens=count)
    new = output[:, width:].tolist()
    return [row[: row.index(7) + 1] if 7 in row else row for row in new]


@pytest.mark.parametrize("shared", [0, SHARED], ids=["nothing shared", "a prefix shared"])
@pytest.mark.parametrize("lengths", [[11] * 16, [1, 30, 2, 17, 9, 5, 31, 24, 12, 8, 21, 3, 29, 6, 28, 14]],
                         ids=["of one length", "left-padded"])  # fmt: skip
def test_greedy_tokens_are_those_of_live_transformers(hf_pair, shared, lengths):
    theirs, ours = hf_pair
    prompts = make_prompts(lengths, shared, vocab=300)
    assert shared_length(prompts) == shared
    expected = hf_greedy(theirs, prompts, 20)
    assert len({tuple(row) for row in expected}) > 8
    options = {"max_new_tokens": 20, "stop_ids": [7]}
    assert generate(ours, prompts, batch_size=16, **options) == expected
    assert generate(ours, prompts[:3], batch_size=1, **options) == expected[:3]
    assert (
        generate(ours, prompts[1:2], **options)[0]
        == hf_greedy(theirs, prompts[1:2], 20)[0]
        == expected[1]
    )


# A row alone


@CONFIGS
@pytest.mark.parametrize("apart", [True, False], ids=["layers apart", "layers stacked"])
def test_hidden_states_behind_a_prefix_are_those_of_whole_rows(config, apart):
    """A prefix of 70 in 80 slots; rows of 9 and 4 tokens, read in pieces; to 1e-5."""
    decoder = Decoder(config)
    layers = each_layer(disassemble(decoder)["blocks"]) if apart else None
    assert (layers is not None) == apart
    prompts = make_prompts([9, 4])
    tokens = np.full((1, 80), 99, np.int32)
    tokens[0, :SHARED] = prompts[0][:SHARED]
    cache = decoder.empty_cache(jnp.zeros(1, jnp.int32), 80, apart)
    prefix = shared_prefix(decoder.extend(tokens, cache, None, layers)[1], jnp.int32(SHARED))
    rows = np.array([prompts[0][SHARED:], [0] * 5 + prompts[1][SHARED:]], np.int32)
    cache, pieces = decoder.empty_cache(jnp.array([0, 5], jnp.int32), 12, apart), []
    for first, last in ((0, 6), (6, 7), (7, 9)):
        hidden, cache = decoder.extend(rows[:, first:last], cache, prefix, layers)
        pieces.append(hidden)
    found = np.concatenate(pieces, axis=1)
    for row, prompt in enumerate(prompts):
        expected = decoder.hidden(np.array([prompt]))[0, SHARED:]
        np.testing.assert_allclose(found[row, 9 - len(expected) :], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("config", "sampling"), [(GPT2, Sampling()), (LLAMA, SAMPLED), (MIXTRAL, SAMPLED)],
                         ids=["gpt2", "llama", "mixtral"])  # fmt: skip
def test_a_row_does_not_depend_on_sharing_or_on_its_batch(config, sampling):
    decoder = Decoder(config)
    prompts = make_prompts([1, 17, 3, 30, 8])
    options = {"max_new_tokens": 12, "sampling": sampling, "seed": 3}
    alone = [generate(decoder, [p], rows=[i], **options)[0] for i, p in enumerate(prompts)]
    assert len({tuple(row) for row in alone}) == 5
    assert generate(decoder, prompts, **options) == alone
    assert generate(decoder, prompts[:3], batch_size=1, **options) == alone[:3]
    # Nothing is shared any more:
    assert generate(decoder, [*prompts[:4], [5, 6]], **options)[:4] == alone[:4]
    assert list(stream(decoder, prompts[1], row=1, **options)) == alone[1]


def test_equal_prompts_and_one_that_begins_another_are_continued_alike():
    decoder, prompt = Decoder(GPT2), make_prompts([9])[0]
    alone = [generate(decoder, [p], max_new_tokens=8)[0] for p in (prompt, prompt[:-2])]
    assert generate(decoder, [prompt, prompt, prompt[:-2]], max_new_tokens=8) == [alone[0], *alone]


def test_repetition_penalty_sees_the_prefix_and_not_its_padding():
    """Of a model whose logits hardly differ, an unbearable penalty leaves exactly the ids that no prompt has."""
    decoder = Decoder(dataclasses.replace(GPT2, initializer_std=1e-3))
    decoder.final_norm.bias[...] = jnp.ones(32)  # Positive logits: a penalty divides them.
    decoder.embed.tokens[...] = decoder.embed.tokens[...] * 0.01 + 1.0
    before = [i % 80 + 1 for i in range(SHARED)]  # ids 1 to 70; 0 is the padding
    prompts = [[*before, 80 + i] for i in range(3)]
    assert shared_length(prompts) == SHARED < bucket_length(SHARED, 192)
    new = generate(decoder, prompts, max_new_tokens=28, sampling=Sampling(repetition_penalty=1e6))
    for row, prompt in zip(new, prompts, strict=True):
        assert len(set(row)) == 28 and not set(row) & set(
            prompt
        )  # of 29 that are left, 0 among them


# How it is done


def test_the_prefix_is_read_once_a_call_and_rows_hold_only_their_own(monkeypatch):
    decoder, read, slots = Decoder(LLAMA), [], []
    reads, fills = loop.read_prefix, loop.prefill

    def counted(*args):
        read.append(args[-2].shape)
        return reads(*args)

    def filled(*args):
        state = fills(*args)
        slots.append(state["cache"]["keys"][0].shape[-2])
        return state

    module = sys.modules[generate.__module__]
    monkeypatch.setattr(module, "read_prefix", counted)
    monkeypatch.setattr(module, "prefill", filled)
    generate(decoder, make_prompts([9] * 7), max_new_tokens=4, batch_size=2)
    assert read == [(128,)]
    assert slots == [16 + 64] * 4


def test_other_prefixes_of_like_length_compile_nothing_anew():
    decoder = Decoder(LLAMA)

    def compiled():
        return [f._cache_size() for f in (loop.read_prefix, loop.prefill, loop.advance)]

    generate(decoder, make_prompts([9] * 3), max_new_tokens=4)
    before = compiled()
    generate(decoder, make_prompts([3, 12, 6], shared=90, seed=4), max_new_tokens=7)
    assert compiled() == before


@pytest.mark.parametrize("config", [LLAMA, MIXTRAL], ids=["llama", "mixtral"])
def test_parameters_on_a_mesh_give_the_same_tokens(config):
    decoder, prompts = Decoder(config), make_prompts([1, 17, 3, 40])
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2), jax.devices())
    parameters = jax.device_put(disassemble(decoder), parameter_shardings(config, mesh))
    assert each_layer(parameters["blocks"]) is None
    sharded = assemble(abstract_decoder(config)[0], parameters)
    options = {"max_new_tokens": 12, "sampling": SAMPLED, "seed": 3}
    assert generate(sharded, prompts, **options) == generate(decoder, prompts, **options)


def test_each_layer_by_itself_is_the_same_memory():
    parameters = disassemble(Decoder(GPT2))
    kernel = parameters["blocks"]["mlp"]["up"]["kernel"]
    for number, layer in enumerate(each_layer(parameters["blocks"])):
        one = layer["mlp"]["up"]["kernel"]
        np.testing.assert_array_equal(one, kernel[number])
        assert one.unsafe_buffer_pointer() == kernel.unsafe_buffer_pointer() + number * one.nbytes


# Lengths


@pytest.mark.parametrize(
    ("prompts", "length"),
    [
        ([], 0),
        ([[1] * 100], 0),
        ([[1] * 100, [1] * 100], 99),
        ([[1] * 100, [1] * 80], 79),
        ([[1] * 90 + [2] * 9, [1] * 100, (*[1] * 70, 5, 6)], 70),
        ([np.ones(100, int), [1] * 65 + [3]], 65),
        ([[1] * 64 + [2], [1] * 64 + [3]], 64),
        ([[1] * 63 + [2], [1] * 63 + [3]], 0),
        ([[2] * 100, [1] * 100], 0),
    ],
)
def test_prompts_share_what_all_begin_with_but_their_last_token(prompts, length):
    assert shared_length(prompts) == length


def test_buckets_hold_their_length_and_are_few():
    buckets = [bucket_length(length, 10_000) for length in range(1, 4097)]
    assert all(bucket >= length for length, bucket in enumerate(buckets, 1))
    assert all(bucket <= 1.25 * length for length, bucket in enumerate(buckets, 1) if length > 256)
    assert sorted(set(buckets)) == [16, 32, 64, 128, 256, 320, 384, 448, 512, 640, 768, 896, 1024,
                                    1280, 1536, 1792, 2048, 2560, 3072, 3584, 4096]  # fmt: skip
    assert bucket_length(900, 950) == 950
