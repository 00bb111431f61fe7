"""A tiny model with LLM-jp's template, as an object and as a Hugging Face directory."""

import pytest


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory, tiny_vocabulary):
    from llmjp_jax.checkpoints import save_hf
    from llmjp_jax.models import Decoder, ModelConfig
    from llmjp_jax.tokenizer import load_vocabulary

    vocabulary = load_vocabulary(tiny_vocabulary)
    config = ModelConfig(vocab_size=vocabulary.vocab_size, layers=1, embed=16, heads=2, mlp=32, max_length=1024,
                         position="learned", norm="layernorm", activation="gelu_tanh", bias=True, tied_embeddings=True,
                         initializer_std=0.3)  # fmt: skip
    directory = tmp_path_factory.mktemp("model") / "tiny"
    save_hf(Decoder(config), config, directory, vocabulary=vocabulary)
    return directory


@pytest.fixture(scope="session")
def tiny_model(tiny_model_dir):
    from llmjp_jax.language_model import LanguageModel

    return LanguageModel.load(tiny_model_dir)
