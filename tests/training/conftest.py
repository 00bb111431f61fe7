"""The smallest runs that pass through every part of training."""

import pytest

from llmjp_jax.models import ModelConfig
from llmjp_jax.training import OptimizerConfig

LLAMA = dict(
    vocab_size=400, layers=2, embed=32, heads=4, kv_heads=2, mlp=64, max_length=64, position="rope",
    norm="rmsnorm", activation="swiglu", bias=False, tied_embeddings=False,
)  # fmt: skip
GPT2 = dict(
    vocab_size=400, layers=2, embed=32, heads=4, mlp=64, max_length=64, position="learned",
    norm="layernorm", activation="gelu", bias=True, tied_embeddings=True,
)  # fmt: skip
FAMILIES = {"llama": LLAMA, "gpt2": GPT2}
ADAM = dict(beta1=0.9, beta2=0.95, epsilon=1e-8, weight_decay=0.1, clip_norm=1.0)
OPTIMIZER = dict(
    learning_rate=1e-2, final_learning_rate=1e-3, warmup_steps=2, decay_steps=20, **ADAM
)


@pytest.fixture
def run_arguments(tmp_path, tiny_cache, tiny_vocabulary):
    """Keyword arguments of `train` for a run of six steps in a fresh MODEL_DIR."""
    return dict(
        model_dir=str(tmp_path / "run"), model=ModelConfig(**LLAMA), optimizer=OptimizerConfig(**OPTIMIZER),
        vocabulary=str(tiny_vocabulary), cache_dir=str(tiny_cache), mixture_or_task_name="tiny",
        sequence_length=32, batch_size=8, total_steps=6, seed=3,
    )  # fmt: skip
