"""One training step, compiled for a mesh: what happens to parameters, and nothing of files, logs or time."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from llmjp_jax.errors import UserError
from llmjp_jax.models import (
    ModelConfig,
    abstract_decoder,
    assemble,
    initialize,
    placed_by,
    token_losses,
)
from llmjp_jax.parallel import (
    Placement,
    batch_sharding,
    complete_layout,
    parameter_shardings,
    partition_spec,
    replicated,
)
from llmjp_jax.training.compilation import check_compiler_options
from llmjp_jax.training.optimizer import OptimizerConfig
from llmjp_jax.training.sizes import check_sizes


class TrainState(NamedTuple):
    """Everything that a step changes: finished steps (int32 scalar), parameters, and the optimizer's state."""

    step: Any
    parameters: Any
    optimizer: Any


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Trainer:
    """The compiled functions of a run: `initial_state`, `step`, `evaluate`, and `put` for batches.

    Attributes:
      model: the decoder. optimizer: its updates. mesh: the devices.
      batch_size, sequence_length: shape of the global batch.
      layout: changes to `parallel.LAYOUT`.
      seed: of the initial parameters and of dropout.
      accumulation: parts of the batch that are computed one after another before the update.
      z_loss: see `models.token_losses`.
      router_loss: factor of the load-balancing loss (`models.Balance`) of each layer of a mixture of experts; the layers'
        losses add up, as with Megatron's --moe-aux-loss-coeff.
      document_mask: attention stays within documents and positions restart in each.
      compiler_options: what XLA is told when it compiles the step (xla_... names): how it computes, not what.
    """

    model: ModelConfig
    optimizer: OptimizerConfig
    mesh: jax.sharding.Mesh
    batch_size: int
    sequence_length: int
    layout: Any = None
    seed: int = 0
    accumulation: int = 1
    z_loss: float = 0.0
    router_loss: float = 0.0
    document_mask: bool = False
    compiler_options: Mapping[str, Any] | None = None

    def __post_init__(self):
        check_sizes(
            self.model, batch_size=self.batch_size, sequence_length=self.sequence_length,
            accumulation=self.accumulation, z_loss=self.z_loss, router_loss=self.router_loss, seed=self.seed,
        )  # fmt: skip
        # These raise where a size is not divisible by its mesh axis.
        self.batch_sharding, self.state_shardings  # noqa: B018
        part = (self.batch_size // self.accumulation, self.sequence_length)
        for names in (("batch", "length"), ("batch", "stream_length")):
            partition_spec(names, part, self.mesh, complete_layout(self.layout))
        check_compiler_options(self.compiler_options or {}, self.mesh)

    @functools.cached_property
    def decoder_config(self) -> ModelConfig:
        """`model` with its 'auto' choices made for the mesh's platform."""
        return self.model.on_platform(self.mesh.devices.flat[0].platform)

    @functools.cached_property
    def definition(self):
        return abstract_decoder(self.decoder_config)[0]

    @functools.cached_property
    def transformation(self) -> optax.GradientTransformation:
        return self.optimizer.transformation()

    @functools.cached_property
    def batch_sharding(self) -> jax.sharding.NamedSharding:
        return batch_sharding(self.mesh, self.batch_size, self.sequence_length, self.layout)

    @functools.cached_property
    def batch_fields(self) -> tuple[str, ...]:
        """The arrays of a batch that the step reads."""
        masked = ("segment_ids", "positions") if self.document_mask else ()
        return ("tokens", "targets", "loss_weights", *masked)

    @functools.cached_property
    def abstract_state(self) -> TrainState:
        """The state's shapes and types, with the place of each array on the mesh."""
        shapes = jax.eval_shape(self._fresh_state)
        return jax.tree.map(
            lambda array, sharding: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding),
            shapes, self.state_shardings,
        )  # fmt: skip

    @functools.cached_property
    def state_shardings(self) -> TrainState:
        """Adam's moments lie where their parameters lie: `jit` alone would put them on one device."""
        parameters = parameter_shardings(self.model, self.mesh, self.layout)
        whole = replicated(self.mesh)
        shapes = jax.eval_shape(self._fresh_state)
        optimizer = optax.tree_map_params(
            self.transformation, lambda _, sharding: sharding, shapes.optimizer, parameters,
            transform_non_params=lambda _: whole,
        )  # fmt: skip
        return TrainState(whole, parameters, optimizer)

    def _fresh_state(self) -> TrainState:
        return self._state_of(initialize(self.decoder_config, self.seed))

    def _state_of(self, parameters) -> TrainState:
        return TrainState(
            jnp.zeros((), jnp.int32), parameters, self.transformation.init(parameters)
        )

    def initial_state(self, parameters: Any = None) -> TrainState:
        """Step 0 with fresh parameters, or with given ones; every array is born where it will lie."""
        if parameters is None:
            return jax.jit(self._fresh_state, out_shardings=self.state_shardings)()
        parameters = jax.tree.map(
            lambda array, target: array.astype(target.dtype),
            parameters,
            self.abstract_state.parameters,
        )
        return jax.jit(self._state_of, out_shardings=self.state_shardings)(parameters)

    @functools.cached_property
    def local_rows(self) -> slice:
        """The rows of the global batch that this process's devices hold."""
        shape = (self.batch_size, self.sequence_length)
        places = self.batch_sharding.addressable_devices_indices_map(shape).values()
        bounds = [rows.indices(self.batch_size) for rows, _ in places]
        return slice(min(start for start, _, _ in bounds), max(stop for _, stop, _ in bounds))

    def put(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """The batch on the devices, from this process's `local_rows` of it ([local rows, length] arrays)."""
        largest = max(int(batch["tokens"].max()), int(batch["targets"].max()))
        if largest >= self.model.padded_vocab_size:
            raise UserError(
                f"the token store has the id {largest}, the model's vocabulary only {self.model.padded_vocab_size}; "
                "build the store with the model's own vocabulary"
            )
        first = self.local_rows.start
        shape = (self.batch_size, self.sequence_length)

        def on_devices(array):
            def part(index):
                start, stop, _ = index[0].indices(self.batch_size)
                return array[start - first : stop - first, index[1]]

            return jax.make_array_from_callback(shape, self.batch_sharding, part)

        return {field: on_devices(batch[field]) for field in self.batch_fields}

    @functools.cached_property
    def step(self):
        """(state, batch) → (state, metrics): one update. The old state's memory is reused for the new one.

        Metrics, float32 scalars: loss (cross-entropy, mean over the tokens of the global batch), z_loss (its part),
        gradient_norm (before clipping), learning_rate, tokens (weight of the batch). With a mixture of experts also
        router_loss (load-balancing loss, mean over layers; 1 when even) and expert_load (the largest share of a layer's
        assignments that one expert got; 1 / experts when even).
        """
        batch = dict.fromkeys(self.batch_fields, self.batch_sharding)
        return jax.jit(
            self._step, donate_argnums=0, in_shardings=(self.state_shardings, batch),
            out_shardings=(self.state_shardings, replicated(self.mesh)),
            compiler_options=dict(self.compiler_options or {}),
        )  # fmt: skip

    @functools.cached_property
    def evaluate(self):
        """(parameters, batch) → (sum of cross-entropies in nats, number of tokens), without dropout."""
        batch = dict.fromkeys(self.batch_fields, self.batch_sharding)
        return jax.jit(
            self._evaluate, in_shardings=(self.state_shardings.parameters, batch),
            out_shardings=replicated(self.mesh),
        )  # fmt: skip

    def abstract_batch(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and types of a batch, for compiling the step ahead of time."""
        shape = (self.batch_size, self.sequence_length)
        dtypes = dict.fromkeys(self.batch_fields, jnp.int32) | {"loss_weights": jnp.float32}
        return {
            field: jax.ShapeDtypeStruct(shape, dtypes[field], sharding=self.batch_sharding)
            for field in self.batch_fields
        }

    def _placed(self):
        if self.mesh.size == 1:
            return contextlib.nullcontext()
        return placed_by(Placement(self.mesh, self.layout))

    def _loss(self, parameters, batch, key):
        """Loss and cross-entropy, sums over tokens, and each layer's `Balance` (None without experts)."""
        decoder = assemble(self.definition, parameters)
        hidden, balance = decoder.hidden_and_balance(
            batch["tokens"], batch.get("segment_ids"), batch.get("positions"), key
        )
        loss, entropy = token_losses(
            hidden, decoder.output_kernel(), batch["targets"], batch["loss_weights"],
            z_loss=self.z_loss, chunks=self.model.loss_chunks,
        )  # fmt: skip
        return loss, entropy, balance

    def _evaluate(self, parameters, batch):
        with self._placed():
            _, entropy, _ = self._loss(parameters, batch, None)
        return entropy, batch["loss_weights"].sum()

    def _step(self, state: TrainState, batch):
        with self._placed():
            gradients, (loss, entropy, balance), tokens = self._gradients(state, batch)
            gradients, norm = self.optimizer.clip(gradients)
            updates, optimizer = self.transformation.update(
                gradients, state.optimizer, state.parameters
            )
            parameters = optax.apply_updates(state.parameters, updates)
        metrics = {
            "loss": entropy,
            "z_loss": loss - entropy,
            "gradient_norm": norm,
            "learning_rate": self.optimizer.learning_rate_at(state.step),
            "tokens": tokens,
        }
        if balance is not None:
            metrics |= {"router_loss": balance.loss.mean(), "expert_load": balance.shares.max()}
        return TrainState(state.step + 1, parameters, optimizer), metrics

    def _gradients(self, state, batch):
        """Gradient and (loss, cross-entropy, balance) of the mean over the whole batch, and its number of tokens."""
        tokens = batch["loss_weights"].sum()
        batch = batch | {"loss_weights": batch["loss_weights"] / jnp.maximum(tokens, 1.0)}
        drops = self.model.dropout > 0 or self.model.attention_dropout > 0
        key = jax.random.fold_in(jax.random.key(self.seed), state.step) if drops else None
        gradient = jax.grad(self._objective, has_aux=True)
        if self.accumulation == 1:
            return *gradient(state.parameters, batch, key), tokens

        def part(sums, indexed):
            index, batch = indexed
            part_key = None if key is None else jax.random.fold_in(key, index)
            gradients, (loss, entropy, balance) = gradient(state.parameters, batch, part_key)
            return jax.tree.map(jnp.add, sums, (gradients, loss, entropy)), balance

        zeros = (jax.tree.map(jnp.zeros_like, state.parameters), jnp.zeros(()), jnp.zeros(()))
        parts = (jnp.arange(self.accumulation), jax.tree.map(self._split, batch))
        (gradients, loss, entropy), balances = jax.lax.scan(part, zeros, parts)
        balance = jax.tree.map(lambda values: values.mean(0), balances)
        return gradients, (loss, entropy, balance), tokens

    def _split(self, x):
        """[batch, length] → [accumulation, part, length]; strided, so that every part is spread over all devices."""
        return jnp.moveaxis(x.reshape(-1, self.accumulation, x.shape[1]), 1, 0)

    def _objective(self, parameters, batch, key):
        """What a part of the batch adds to the quantity that is minimised, and what is reported of it."""
        loss, entropy, balance = self._loss(parameters, batch, key)
        objective = loss
        if self.router_loss > 0:
            objective = loss + self.router_loss * balance.loss.sum() / self.accumulation
        return objective, (loss, entropy, balance)
