"""Generation: Hugging Face's greedy tokens, rows that do not know of each other, ends, compilations and meshes."""

import json

import jax
import numpy as np
import pytest

from llmjp_jax.checkpoints import load_hf
from llmjp_jax.decoding import Sampling, generate, loop, stream
from llmjp_jax.errors import UserError
from llmjp_jax.models import Decoder, ModelConfig, abstract_decoder, assemble, disassemble
from llmjp_jax.parallel import MeshConfig, make_mesh, parameter_shardings

SAMPLED = Sampling(temperature=0.9, top_p=0.95, top_k=60, repetition_penalty=1.2)
# A wide initialisation: the likeliest token is clear, and texts differ.
SIZES = {"layers": 2, "embed": 32, "heads": 4, "mlp": 64, "max_length": 128, "initializer_std": 0.3}
LLAMA = ModelConfig(vocab_size=100, vocab_multiple=64, kv_heads=2, position="rope", norm="rmsnorm", activation="swiglu",
                    bias=False, tied_embeddings=False, **SIZES)  # fmt: skip
GPT2 = ModelConfig(vocab_size=100, position="learned", norm="layernorm", activation="gelu_tanh",
                   bias=True, tied_embeddings=True, **SIZES)  # fmt: skip


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    """Grouped heads, a padded vocabulary; GPT-2's learned positions come where padding and length matter."""
    return Decoder(LLAMA)


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    random = np.random.default_rng(0)
    return [random.integers(0, 100, length).tolist() for length in (3, 17, 9, 1, 30)]


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
        config = transformers.GPT2Config(n_embd=48, n_layer=3, n_head=4, n_positions=96, **ids)
        model = transformers.GPT2LMHeadModel(config)
    else:
        config = transformers.LlamaConfig(hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
                                          num_key_value_heads=2, max_position_embeddings=96, **ids)  # fmt: skip
        model = transformers.LlamaForCausalLM(config)
    directory = tmp_path_factory.mktemp(request.param)
    model.eval().save_pretrained(directory)
    return model, load_hf(directory)[1]


@pytest.mark.parametrize("penalty", [1.0, 1.4])
def test_twenty_greedy_tokens_are_those_of_live_transformers(hf_pair, penalty):
    import torch

    theirs, ours = hf_pair
    prompts = np.random.default_rng(2).integers(8, 300, (4, 11))
    output = theirs.generate(torch.tensor(prompts), attention_mask=torch.ones(4, 11, dtype=torch.long), do_sample=False,
                             max_new_tokens=20, min_new_tokens=20, repetition_penalty=penalty)  # fmt: skip
    new = generate(
        ours, prompts.tolist(), max_new_tokens=20, sampling=Sampling(repetition_penalty=penalty)
    )
    # min_new_tokens keeps transformers from eos; ours may choose it, so rows are compared up to there.
    for row, tokens in enumerate(new):
        until = tokens.index(7) if 7 in tokens else 20
        assert tokens[:until] == output[row, 11 : 11 + until].tolist()
        assert until > 5


@pytest.mark.parametrize("name", ["gpt2_tiny", "llama_mha_tiny", "llama_gqa_tiny"])
def test_greedy_tokens_are_those_of_the_reference_data(shared_data, name):
    directory = shared_data / "parity" / "hf" / name
    data, expected = (
        np.load(directory / "io.npz"),
        json.loads((directory / "expected.json").read_text()),
    )
    _, model = load_hf(directory)
    prompt, output = data["generate_prompt"], data["generate_output"]
    new = generate(model, prompt.tolist(), max_new_tokens=20)
    assert [p + n for p, n in zip(prompt.tolist(), new, strict=True)] == output.tolist()

    mask, padded, output = data["leftpad_mask"], data["leftpad_prompt"], data["leftpad_output"]
    rows = [tokens[keep == 1].tolist() for tokens, keep in zip(padded, mask, strict=True)]
    assert len({len(row) for row in rows}) > 1
    new = generate(model, rows, max_new_tokens=output.shape[1] - padded.shape[1])
    assert new == output[:, padded.shape[1] :].tolist()

    stop, output = expected["eosstop_eos_id"], data["eosstop_output"]
    new = generate(model, prompt.tolist(), max_new_tokens=20, stop_ids=[stop])
    assert any(len(tokens) < 20 for tokens in new)
    for row, tokens in enumerate(new):
        width = output.shape[1] - prompt.shape[1]
        padding = [4] * (width - len(tokens))
        assert tokens + padding == output[row, prompt.shape[1] :].tolist()


# A row alone


@pytest.mark.parametrize(
    ("config", "sampling"), [(GPT2, Sampling()), (LLAMA, SAMPLED)], ids=["greedy", "sampled"]
)
def test_a_row_does_not_depend_on_its_batch_or_padding(prompts, config, sampling):
    decoder = Decoder(config)
    options = {"max_new_tokens": 20, "sampling": sampling, "seed": 3}
    together = generate(decoder, prompts, **options)
    alone = [generate(decoder, [p], rows=[i], **options)[0] for i, p in enumerate(prompts)]
    assert alone == together
    assert generate(decoder, prompts, batch_size=2, **options) == together
    assert generate(decoder, prompts[::-1], rows=[4, 3, 2, 1, 0], **options) == together[::-1]
    assert len({tuple(tokens) for tokens in together}) == 5


def test_repetition_penalty_does_not_see_left_padding():
    """Token 0 is the padding: a penalty strong enough to forbid it must not fall on a row that never had it."""
    decoder = Decoder(GPT2)
    kernel = disassemble(decoder)
    kernel["embed"]["tokens"] = kernel["embed"]["tokens"].at[0].set(0.0).at[1:].multiply(1e-3)
    kernel["final_norm"]["bias"] = kernel["final_norm"]["bias"] + 1.0
    kernel["embed"]["tokens"] = kernel["embed"]["tokens"].at[0].set(1.0)
    decoder = assemble(abstract_decoder(GPT2)[0], kernel)
    options = {"max_new_tokens": 2, "sampling": Sampling(repetition_penalty=1e6)}
    padded = generate(decoder, [[5], [6] * 12], **options)[0]
    assert padded[0] == 0  # by far the likeliest, and not seen before
    assert padded[1] != 0  # now it has been


def test_the_same_seed_gives_the_same_tokens_and_another_seed_others(decoder, prompts):
    def text(seed):
        return generate(decoder, prompts, max_new_tokens=20, sampling=SAMPLED, seed=seed)

    assert text(1) == text(1)
    assert text(1) != text(2)


def test_equal_prompts_of_one_call_are_continued_differently(decoder):
    new = generate(decoder, [[5, 6, 7]] * 4, max_new_tokens=20, sampling=Sampling(temperature=1.0))
    assert len({tuple(tokens) for tokens in new}) == 4


def test_every_token_of_a_row_is_drawn_anew():
    """All weights zero: each of 60 draws is uniform over 100 tokens, so about 45 of them are distinct."""
    zeros = jax.tree.map(np.zeros_like, disassemble(Decoder(GPT2)))
    decoder = assemble(abstract_decoder(GPT2)[0], zeros)
    new = generate(decoder, [[5]], max_new_tokens=60, sampling=Sampling(temperature=1.0))
    assert 35 < len(set(new[0])) < 55


def test_a_stream_yields_what_generate_gives(decoder, prompts):
    options = {
        "max_new_tokens": 20,
        "sampling": SAMPLED,
        "seed": 3,
        "stop_ids": [50, 51, 52, 53, 54, 55],
    }
    whole = generate(decoder, prompts, **options)
    assert any(len(tokens) < 20 for tokens in whole)
    assert [list(stream(decoder, p, row=i, **options)) for i, p in enumerate(prompts)] == whole


# Ends


def test_a_row_ends_with_the_first_stop_id_and_the_others_go_on(decoder, prompts):
    free = generate(decoder, prompts, max_new_tokens=20)
    stop = free[2][7]
    stopped = generate(decoder, prompts, max_new_tokens=20, stop_ids=[stop, 99])
    for tokens, unstopped in zip(stopped, free, strict=True):
        ends = [i for i, token in enumerate(unstopped) if token in (stop, 99)]
        assert tokens == unstopped[: ends[0] + 1 if ends else 20]
    assert len({len(tokens) for tokens in stopped}) > 1


def test_a_row_that_has_written_enough_ends_at_the_next_question_and_the_others_go_on(
    decoder, prompts
):
    whole = generate(decoder, prompts, max_new_tokens=40)
    asked = []

    def enough(number, tokens):
        asked.append((number, len(tokens)))
        assert tokens == whole[number][: len(tokens)]
        return number in (1, 3) and len(tokens) >= 20

    found = generate(decoder, prompts, max_new_tokens=40, enough=enough, batch_size=2)
    assert [len(tokens) for tokens in found] == [40, 32, 40, 32, 40]
    assert all(one == all_[: len(one)] for one, all_ in zip(found, whole, strict=True))
    assert sorted(asked) == sorted((n, count) for n in range(5) for count in (16, 32))


def test_more_stop_ids_than_slots_all_count(decoder, prompts):
    new = generate(decoder, prompts, max_new_tokens=20, stop_ids=range(100))
    assert [len(tokens) for tokens in new] == [1] * 5


def test_ids_that_only_pad_the_vocabulary_are_never_chosen():
    parameters = disassemble(Decoder(LLAMA))
    parameters["head"]["kernel"] = parameters["head"]["kernel"].at[:, 100:].multiply(100)
    decoder = assemble(abstract_decoder(LLAMA)[0], parameters)
    new = generate(decoder, [[1, 2, 3]] * 3, max_new_tokens=30)
    assert max(map(max, new)) < 100


@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_a_sequence_may_fill_the_model_s_length_to_the_last_token(config):
    decoder = Decoder(config)
    prompt = np.random.default_rng(5).integers(0, 100, 100).tolist()
    whole = generate(decoder, [prompt], max_new_tokens=28)[0]
    assert len(whole) == 28
    logits = decoder(np.array([prompt + whole])[:, :-1])[0, 99:, :100]
    assert logits.argmax(-1).tolist() == whole


# Compilations


def test_calls_with_like_shapes_compile_nothing_anew(decoder, prompts):
    def call(prompts, **options):
        options = {"max_new_tokens": 20, "seed": 0, "sampling": SAMPLED, "stop_ids": [7]} | options
        generate(decoder, prompts, **options)

    def compiled():
        return loop.prefill._cache_size(), loop.advance._cache_size()

    call(prompts[:3])
    before = compiled()
    call(prompts[:3])
    call([prompt[:-1] + [3, 3] for prompt in prompts[:3]])  # other lengths, same bucket
    call(prompts[:3], max_new_tokens=33, seed=5, stop_ids=[1, 2, 3])
    call(prompts[:3], sampling=Sampling(temperature=0.2, top_k=3, repetition_penalty=1.5))
    assert compiled() == before
    call(prompts[:4])  # the count does count
    assert compiled() == (before[0] + 1, before[1] + 1)


def test_streaming_compiles_once_for_all_its_tokens(decoder):
    sampling = Sampling(temperature=0.5)
    list(stream(decoder, [1, 2, 3], max_new_tokens=3, sampling=sampling))
    before = loop.prefill._cache_size(), loop.advance._cache_size()
    list(stream(decoder, [4, 5], max_new_tokens=40, sampling=sampling))
    assert (loop.prefill._cache_size(), loop.advance._cache_size()) == before


# Meshes


def test_parameters_on_a_mesh_give_the_same_tokens(decoder, prompts):
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2), jax.devices())
    shardings = parameter_shardings(decoder.config, mesh)
    parameters = jax.device_put(disassemble(decoder), shardings)
    sharded = assemble(abstract_decoder(decoder.config)[0], parameters)
    options = {"max_new_tokens": 20, "sampling": SAMPLED, "seed": 3}
    whole = generate(decoder, prompts, **options)
    assert generate(sharded, prompts, **options) == whole
    assert list(stream(sharded, prompts[1], row=1, **options)) == whole[1]


# Mistakes


@pytest.mark.parametrize(
    ("prompts", "options", "sentence"),
    [
        ([[1], []], {}, "prompt 2 of 2 has no tokens"),
        (
            [[1] * 120],
            {},
            "prompt 1 of 1 has 120 tokens and max_new_tokens is 20, together more than .* 128",
        ),
        ([[1], [100]], {}, "prompt 2 of 2 holds a token id outside 0 .. 99"),
        ([[-1]], {}, "prompt 1 of 1 holds a token id outside"),
        ([[1]], {"max_new_tokens": 0}, "max_new_tokens = 0 must be"),
        ([[1]], {"seed": -1}, "seed = -1 must be"),
        ([[1]], {"batch_size": 0}, "batch_size = 0 must be"),
        ([[1]], {"rows": [0, 1]}, "rows has 2 numbers for 1 prompts"),
    ],
)
def test_a_mistake_is_one_sentence(prompts, options, sentence):
    decoder = Decoder(GPT2)
    with pytest.raises(UserError, match=sentence):
        generate(decoder, prompts, **{"max_new_tokens": 20} | options)


def test_no_prompts_give_no_texts():
    assert generate(Decoder(GPT2), [], max_new_tokens=20) == []
