"""What a decoder is (its shape and its five family choices) and how it is computed.

GPT-2 (LLM-jp v1.0), Llama (v2.0, LLM-jp-3) and Mixtral (LLM-jp-3 MoE) differ only in fields of `ModelConfig`. Names of sizes and their sources
stand in `gin_configs/models/`, not here.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from llmjp_jax.errors import UserError
from llmjp_jax.models.lora import LoraConfig

# Fields that say how the same function is computed: two configs that differ only in these are the same model.
COMPUTE_FIELDS = ("dtype", "attention", "remat", "unroll", "barriers", "loss_chunks")

_CHOICES = {
    "position": ("learned", "rope"),
    "norm": ("layernorm", "rmsnorm"),
    "activation": ("gelu", "gelu_tanh", "swiglu"),
    "dtype": ("float32", "bfloat16"),
    "attention": ("auto", "reference", "blocked", "xla", "cudnn", "splash", "splash_interpret"),
    "remat": ("none", "dots", "full"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A decoder-only transformer.

    Attributes:
      vocab_size: number of ids that the tokenizer can produce.
      layers: number of blocks.
      embed: width of the residual stream.
      heads: query heads; kv_heads: key and value heads (None: as many as `heads`); head_dim: None for embed / heads.
      mlp: width inside the MLP, or inside each expert.
      experts: experts in each block's MLP, of which a router chooses `experts_per_token` for each token; None: a plain MLP.
      max_length: longest sequence, in tokens.
      position: 'learned' table or 'rope' (rotate-half, base `rope_theta`).
      norm: 'layernorm' or 'rmsnorm', with `norm_epsilon`.
      activation: 'gelu' (erf; LLM-jp v1.0's released config), 'gelu_tanh' (GPT-2's `gelu_new`) or 'swiglu'.
      bias: biases on all linear layers.
      tied_embeddings: logits use the token embedding.
      vocab_multiple: the embedding has `vocab_size` rounded up to this multiple (Megatron pads likewise).
      dropout: rate after the embedding, the attention output and the MLP; attention_dropout: on attention weights.
      initializer_std: of all matrices; those that write to the residual stream are divided by sqrt(2 layers), as
        Megatron does by default.
      lora: adapters on some of the matrices, which are then frozen in training; None: none.
      dtype: of activations and matrix products; parameters, norms' statistics, softmax and loss stay float32.
      attention: 'reference' (whole [length, length] scores), 'blocked' (skips what lies after the query block: CPU),
        'xla' and 'cudnn' (`jax.nn.dot_product_attention`), 'splash' (JAX's Pallas kernel for TPUs), 'splash_interpret'
        (the same emulated: for tests), or 'auto': the best for the platform.
      remat: what the backward pass recomputes: 'none', 'dots' (all but matrix products), 'full' (all of a block).
      unroll: blocks per iteration of the scan over layers; `layers` unrolls it.
      barriers: keep XLA from fusing across matrix products and residual sums; None: only on CPU, where it pays.
      loss_chunks: pieces in which the cross-entropy is computed, so that the logits never exist whole.
    """

    vocab_size: int
    layers: int
    embed: int
    heads: int
    mlp: int
    max_length: int
    position: Literal["learned", "rope"]
    norm: Literal["layernorm", "rmsnorm"]
    activation: Literal["gelu", "gelu_tanh", "swiglu"]
    bias: bool
    tied_embeddings: bool
    kv_heads: int | None = None
    head_dim: int | None = None
    experts: int | None = None
    experts_per_token: int = 2
    rope_theta: float = 10000.0
    norm_epsilon: float = 1e-5
    vocab_multiple: int = 1
    dropout: float = 0.0
    attention_dropout: float = 0.0
    initializer_std: float = 0.02
    lora: LoraConfig | None = None

    dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Literal["auto", "reference", "blocked", "xla", "cudnn"] = "auto"
    remat: Literal["none", "dots", "full"] = "none"
    unroll: int = 1
    barriers: bool | None = None
    loss_chunks: int = 1

    def __post_init__(self):
        self._check(
            type(self.heads) is int and self.heads >= 1, "heads", "be a whole number of at least 1"
        )
        if self.kv_heads is None:
            object.__setattr__(self, "kv_heads", self.heads)
        if self.head_dim is None:
            self._check(
                self.embed % self.heads == 0, "heads", f"divide embed={self.embed}, or set head_dim"
            )
            object.__setattr__(self, "head_dim", self.embed // self.heads)
        for field in ("vocab_size", "layers", "embed", "heads", "kv_heads", "head_dim", "mlp",
                      "max_length", "vocab_multiple", "unroll", "loss_chunks"):  # fmt: skip
            value = getattr(self, field)
            self._check(type(value) is int and value >= 1, field, "be a whole number of at least 1")
        for field in ("bias", "tied_embeddings"):
            self._check(type(getattr(self, field)) is bool, field, "be True or False")
        for field in ("rope_theta", "norm_epsilon"):
            self._check(getattr(self, field) > 0, field, "be positive")
        self._check(self.initializer_std >= 0, "initializer_std", "not be negative")
        for field, choices in _CHOICES.items():
            self._check(getattr(self, field) in choices, field, f"be one of {', '.join(choices)}")
        for field in ("dropout", "attention_dropout"):
            self._check(0 <= getattr(self, field) < 1, field, "lie in [0, 1)")
        self._check(self.heads % self.kv_heads == 0, "kv_heads", f"divide heads={self.heads}")
        self._check(self.layers % self.unroll == 0, "unroll", f"divide layers={self.layers}")
        self._check(
            self.position == "learned" or self.head_dim % 2 == 0, "head_dim", "be even with rope"
        )
        if self.experts is not None:
            self._check_experts()
        if self.lora is not None:
            self._check_lora()
        if self.attention not in ("auto", "reference", "blocked"):
            self._check(self.attention_dropout == 0, "attention_dropout",
                        f"be 0 with attention={self.attention!r}; use 'reference' or 'blocked'")  # fmt: skip

    def _check_experts(self) -> None:
        self._check(type(self.experts) is int and self.experts >= 2, "experts",
                    "be None or a whole number of at least 2")  # fmt: skip
        k = self.experts_per_token
        self._check(type(k) is int and 1 <= k <= self.experts, "experts_per_token",
                    f"be a whole number from 1 to experts={self.experts}")  # fmt: skip
        self._check(
            self.activation == "swiglu", "activation", "be 'swiglu' in a model with experts"
        )
        self._check(not self.bias, "bias", "be False in a model with experts")

    def _check_lora(self) -> None:
        is_config = isinstance(self.lora, LoraConfig)
        self._check(is_config, "lora", "be None or a LoraConfig")
        targets = set(self.lora.targets)

        def refuse(names: set[str], why: str) -> None:
            found = [name for name in self.lora.targets if name in names & targets]
            if found:
                raise UserError(
                    f"LoraConfig.targets has {', '.join(map(repr, found))}, {why}; leave it out"
                )

        if self.activation != "swiglu":
            refuse({"gate"}, f"which a model with activation={self.activation!r} lacks")
        if self.experts is not None:
            refuse({"gate", "up", "down"}, "and experts take no adapters, only attention does")
        if self.tied_embeddings:
            refuse({"head", "embedding"}, "and a table that is both embedding and output matrix takes no adapter")  # fmt: skip

    def _check(self, holds: bool, field: str, must: str) -> None:
        if not holds:
            raise UserError(f"ModelConfig.{field} = {getattr(self, field)!r} must {must}")

    @property
    def padded_vocab_size(self) -> int:
        """Rows of the embedding: `vocab_size` rounded up to a multiple of `vocab_multiple`."""
        return -(-self.vocab_size // self.vocab_multiple) * self.vocab_multiple

    @property
    def uses_dropout(self) -> bool:
        """Whether training draws random numbers for dropout of any kind."""
        lora = 0 if self.lora is None else self.lora.dropout
        return max(self.dropout, self.attention_dropout, lora) > 0

    def on_platform(self, platform: str, *, placed: bool = True) -> ModelConfig:
        """This config with every 'auto' replaced by the choice for 'cpu', 'gpu' or 'tpu'.

        cuDNN's flash attention takes bfloat16 and head sizes that are multiples of 8 up to 128; elsewhere a GPU gets
        'xla'. The splash kernel runs on one TPU or under `placed_by`: where it is not known where arrays will lie
        (`placed` is False), a TPU gets 'xla'.

        Raises:
          UserError: an attention backend that the platform lacks.
        """
        barriers = platform == "cpu" if self.barriers is None else self.barriers
        attention = self.attention
        if attention == "auto":
            attention = self._best_attention(platform, placed)
        needed = {"splash": ("tpu",), "cudnn": ("gpu", "cuda")}.get(attention)
        if placed and needed and platform not in needed:
            self._check(
                False, "attention", f"run on a {needed[0].upper()}, not on {platform}; set 'auto'"
            )
        return dataclasses.replace(self, attention=attention, barriers=barriers)

    def _best_attention(self, platform: str, placed: bool) -> str:
        if platform == "cpu" or self.attention_dropout > 0:
            return "blocked"
        if platform == "tpu":
            return "splash" if placed else "xla"
        flash = self.dtype == "bfloat16" and self.head_dim % 8 == 0 and self.head_dim <= 128
        return "cudnn" if platform in ("gpu", "cuda") and flash else "xla"

    def identity(self) -> dict:
        """The fields that make this model what it is, without those that only say how it is computed."""
        fields = dataclasses.asdict(self)
        if self.experts is None:
            fields["experts_per_token"] = None
        return {name: value for name, value in fields.items() if name not in COMPUTE_FIELDS}
