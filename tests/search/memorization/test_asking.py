"""What a model says of samples: against generation one by one and against its logits; and that nothing is asked twice."""

import numpy as np
import pytest
from flax import nnx

from llmjp_jax import LanguageModel, decoding
from llmjp_jax.errors import UserError
from llmjp_jax.models import Decoder, ModelConfig
from llmjp_jax.search.memorization import Protocol
from llmjp_jax.search.memorization.asking import ask, token_logprobs
from llmjp_jax.search.memorization.samples import Sample
from llmjp_jax.tokenizer import load_vocabulary

PROTOCOL = Protocol(prefix_lengths=(5, 20), continuation=12, min_k_percent=25)


@pytest.fixture(scope="module")
def model(tiny_vocabulary) -> LanguageModel:
    vocabulary = load_vocabulary(tiny_vocabulary)
    # More rows than ids: what only pads the output must not count.
    config = ModelConfig(vocab_size=400, vocab_multiple=128, layers=1, embed=32, heads=2, mlp=64, max_length=40, position="rope",
                         norm="rmsnorm", activation="swiglu", bias=False, tied_embeddings=False, initializer_std=0.5)  # fmt: skip
    return LanguageModel(Decoder(config), vocabulary)


@pytest.fixture(scope="module")
def samples(model) -> list[Sample]:
    ids = np.random.default_rng(0).integers(8, 390, (7, 32))
    ids[3, 25] = model.vocabulary.eos_id  # an end of a document within the continuation
    short = [Sample(group="text", source="short", ids=tuple(ids[6, :19].tolist()))]
    return [Sample(group="trained", source="a", ids=tuple(row.tolist())) for row in ids[:6]] + short


@pytest.fixture(scope="module")
def logits_of(model):
    """A function of ids: [tokens, vocab_size] of them by themselves."""
    compiled = nnx.jit(lambda decoder, tokens: decoder(tokens))

    def logits(ids) -> np.ndarray:
        padded = np.zeros((1, model.config.max_length), np.int32)
        padded[0, : len(ids)] = ids
        return np.asarray(compiled(model.model, padded))[0, : len(ids), : model.config.vocab_size]

    return logits


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_the_model_goes_on_greedily_from_each_prefix_and_scores_what_stood_there(
    model, samples, logits_of, tmp_path
):
    answers = ask(model, samples, PROTOCOL, tmp_path / "answers.jsonl", {"step": 1}, batch_size=4)
    assert sorted(answers) == sorted(
        [(n, k) for n in range(6) for k in (5, 20)] + [(6, 5)]
    )  # the short one has no 20
    for (number, length), answer in answers.items():
        ids = samples[number].ids
        prefix, wanted = list(ids[-12 - length : -12]), list(ids[-12:])
        # Every token is the likeliest after those before it, and generation of this prompt alone gives the same.
        likeliest = logits_of(prefix + answer["ids"]).argmax(-1)
        assert answer["ids"] == likeliest[length - 1 : -1].tolist()
        if number < 2:
            alone = decoding.generate(model.model, [prefix] * 4, max_new_tokens=12)
            assert alone == [answer["ids"]] * 4
        assert answer["raw"] == model.vocabulary.decode(answer["ids"])
        # Each token of prefix and continuation but the first, given those before it.
        scores = np.take_along_axis(
            log_softmax(logits_of(prefix + wanted))[:-1],
            np.array(prefix + wanted)[1:, None],
            1,
        )[:, 0]
        continuation = np.sort(scores[-12:])
        assert answer["perplexity"] == pytest.approx(np.exp(-continuation.mean()), rel=1e-5)
        assert answer["min_k"] == pytest.approx(continuation[:3].mean(), rel=1e-5)
        assert answer["whole_perplexity"] == pytest.approx(np.exp(-scores.mean()), rel=1e-5)
        whole = np.sort(scores)[: int(len(scores) * 0.25)]
        assert answer["whole_min_k"] == pytest.approx(whole.mean(), rel=1e-5)


def test_an_end_of_document_ends_no_continuation(model, samples, tmp_path, monkeypatch):
    generate = decoding.generate
    asked = []

    def watched(*arguments, **options):
        asked.append(options["stop_ids"])
        return generate(*arguments, **options)

    monkeypatch.setattr(decoding, "generate", watched)
    answers = ask(model, samples, PROTOCOL, tmp_path / "answers.jsonl", {}, batch_size=4)
    assert asked and all(stop_ids == () for stop_ids in asked)
    assert {len(answer["ids"]) for answer in answers.values()} == {12}


def test_log_probabilities_do_not_depend_on_the_batch(model, samples):
    rows = [sample.ids for sample in samples[:5]]
    one_by_one = np.concatenate([token_logprobs(model, [row]) for row in rows])
    for size in (2, 16):
        np.testing.assert_allclose(token_logprobs(model, rows, size), one_by_one, atol=1e-4)


def test_log_probabilities_of_a_whole_length_of_the_model(model, logits_of):
    ids = np.random.default_rng(1).integers(8, 390, 40).tolist()
    expected = log_softmax(logits_of(ids))[np.arange(39), ids[1:]]
    np.testing.assert_allclose(token_logprobs(model, [ids])[0], expected, atol=1e-4)


def test_what_was_said_before_a_stop_is_not_asked_again(model, samples, tmp_path, monkeypatch):
    path, many = tmp_path / "answers.jsonl", [
        Sample(group="trained", source="a", ids=sample.ids[n:] + sample.ids[:n])
        for n in range(3)
        for sample in samples[:6]
    ]  # fmt: skip
    generate, asked, most = decoding.generate, [], 2

    def stops(decoder, prompts, **options):
        if len(asked) == most:
            raise KeyboardInterrupt
        asked.append([tuple(prompt) for prompt in prompts])
        return generate(decoder, prompts, **options)

    monkeypatch.setattr("llmjp_jax.search.memorization.asking._BATCHES", 2)
    monkeypatch.setattr(decoding, "generate", stops)
    with pytest.raises(KeyboardInterrupt):
        ask(model, many, PROTOCOL, path, {}, batch_size=4)
    before, kept = len(asked), path.read_bytes()
    assert [len(prompts) for prompts in asked] == [8, 8] and kept.count(b"\n") == 1 + 16
    most = -1
    answers = ask(model, many, PROTOCOL, path, {}, batch_size=4)
    assert path.read_bytes().startswith(kept)
    prompts = [prompt for some in asked for prompt in some]
    assert len(asked) > before and len(prompts) == len(answers) == 36
    assert len(set(prompts)) == len(prompts)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"identity": {"step": 2}}, "model"),
        ({"protocol": Protocol(prefix_lengths=(5,), continuation=12)}, "min_k_percent, prefix_lengths"),
        ({"samples": 5}, "samples"),
    ],
)  # fmt: skip
def test_answers_of_another_model_or_to_other_samples_are_refused(
    model, samples, tmp_path, changed, field
):
    path = tmp_path / "answers.jsonl"
    ask(model, samples[:4], PROTOCOL, path, {"step": 1}, batch_size=4)
    with pytest.raises(UserError, match=f"another run: {field} differ"):
        ask(
            model, samples[: changed.get("samples", 4)], changed.get("protocol", PROTOCOL), path,
            changed.get("identity", {"step": 1}),
        )  # fmt: skip
