"""One training step, compiled for a mesh: what happens to parameters, and nothing of files, logs or time."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from llmjp_jax.errors import UserError
from llmjp_jax.models import (
    ModelConfig,
    abstract_decoder,
    adapters_of,
    assemble,
    initialize,
    join,
    placed_by,
    token_log_probabilities,
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
from llmjp_jax.training.objectives import Objective, Outcome, TokenLoss
from llmjp_jax.training.optimizer import OptimizerConfig
from llmjp_jax.training.sizes import check_sizes
from llmjp_jax.training.state import TrainState, as_frozen, moved, split_trained


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Trainer:
    """The compiled functions of a run: `initial_state`, `step`, `evaluate`, and `put` for batches.

    Attributes:
      model: the decoder. optimizer: its updates. mesh: the devices.
      batch_size, sequence_length: shape of the global batch.
      layout: changes to `parallel.LAYOUT`.
      seed: of the initial parameters and of dropout.
      accumulation: parts of the batch that are computed one after another before the update.
      objective: what is minimised; None: `TokenLoss` with `z_loss`.
      z_loss: see `models.token_losses`.
      longest: tokens of the longest sequence, where a row may hold several; None: sequence_length.
      lengths: that rows may have, padded in buckets; None: sequence_length alone.
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
    objective: Objective | None = None
    z_loss: float = 0.0
    router_loss: float = 0.0
    document_mask: bool = False
    longest: int | None = None
    lengths: tuple[int, ...] | None = None
    compiler_options: Mapping[str, Any] | None = None

    def __post_init__(self):
        check_sizes(
            self.model, batch_size=self.batch_size, sequence_length=self.sequence_length,
            accumulation=self.accumulation, z_loss=self.z_loss, router_loss=self.router_loss, seed=self.seed,
            longest=self.longest, lengths=self.lengths,
        )  # fmt: skip
        if self.objective is not None and self.z_loss:
            raise UserError(
                f"z_loss = {self.z_loss} belongs to the token loss; leave it 0 with an objective of your own"
            )
        self.goal.check(self.model)
        # These raise where a size is not divisible by its mesh axis.
        self.batch_sharding, self.state_shardings  # noqa: B018
        rows = self.batch_size // self.accumulation
        for length in (self.sequence_length, *(self.lengths or ())):
            for names in (("batch", "length"), ("batch", "stream_length")):
                partition_spec(names, (rows, length), self.mesh, complete_layout(self.layout))
        check_compiler_options(self.compiler_options or {}, self.mesh)

    @functools.cached_property
    def decoder_config(self) -> ModelConfig:
        """`model` with its 'auto' choices made for the mesh's platform."""
        return self.model.on_platform(self.mesh.devices.flat[0].platform)

    @functools.cached_property
    def definition(self):
        return abstract_decoder(self.decoder_config)[0]

    @functools.cached_property
    def goal(self) -> Objective:
        """The objective, given or not."""
        return self.objective or TokenLoss(z_loss=self.z_loss)

    @functools.cached_property
    def base_definition(self):
        """The decoder under the adapters."""
        return abstract_decoder(dataclasses.replace(self.decoder_config, lora=None))[0]

    @functools.cached_property
    def transformation(self) -> optax.GradientTransformation:
        return self.optimizer.transformation()

    @functools.cached_property
    def batch_sharding(self) -> jax.sharding.NamedSharding:
        return batch_sharding(self.mesh, self.batch_size, self.sequence_length, self.layout)

    @functools.cached_property
    def text_fields(self) -> tuple[str, ...]:
        """The arrays of a batch that every objective reads."""
        masked = ("segment_ids", "positions") if self.document_mask else ()
        return ("tokens", "targets", "loss_weights", *masked)

    @functools.cached_property
    def batch_fields(self) -> tuple[str, ...]:
        """The arrays of a batch that the step reads."""
        return (*self.text_fields, *self.goal.fields)

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
        shardings = parameter_shardings(self.model, self.mesh, self.layout)
        trained, frozen = split_trained(self.model, shardings)
        whole = replicated(self.mesh)
        shapes = jax.eval_shape(self._fresh_state)
        optimizer = optax.tree_map_params(
            self.transformation, lambda _, sharding: sharding, shapes.optimizer, trained,
            transform_non_params=lambda _: whole,
        )  # fmt: skip
        return TrainState(whole, trained, optimizer, frozen)

    @property
    def weight_shardings(self):
        """Where all parameters of the model lie."""
        return self.state_shardings.weights

    def _fresh_state(self) -> TrainState:
        trained, frozen = split_trained(self.model, initialize(self.decoder_config, self.seed))
        return self._state_of(trained, as_frozen(frozen, self.model))

    def _state_of(self, trained, frozen) -> TrainState:
        optimizer = self.transformation.init(trained)
        return TrainState(jnp.zeros((), jnp.int32), trained, optimizer, frozen)

    def initial_state(self, parameters: Any = None) -> TrainState:
        """Step 0 with fresh parameters, or with given ones; every array is born where it will lie.

        Args:
          parameters: of all the model, on the mesh; without adapters where the run is to begin with new ones. They are
            used up: large models do not fit twice.
        """
        if parameters is None:
            return jax.jit(self._fresh_state, out_shardings=self.state_shardings)()
        target = self.abstract_state
        trained, frozen = split_trained(self.model, parameters)
        if self.model.lora is not None and not trained:
            trained = self._fresh_adapters()
        trained = jax.tree.map(moved, trained, target.parameters)
        frozen = jax.tree.map(moved, frozen, target.frozen)
        state = jax.jit(
            lambda trained: self._state_of(trained, {}),
            out_shardings=self.state_shardings._replace(frozen={}), donate_argnums=0,
        )(trained)  # fmt: skip
        return state._replace(frozen=frozen)

    def _fresh_adapters(self):
        return jax.jit(
            lambda: adapters_of(initialize(self.decoder_config, self.seed)),
            out_shardings=self.state_shardings.parameters,
        )()

    @functools.cached_property
    def local_rows(self) -> slice:
        """The rows of the global batch that this process's devices hold."""
        shape = (self.batch_size, self.sequence_length)
        places = self.batch_sharding.addressable_devices_indices_map(shape).values()
        bounds = [rows.indices(self.batch_size) for rows, _ in places]
        return slice(min(start for start, _, _ in bounds), max(stop for _, stop, _ in bounds))

    def put(
        self, batch: dict[str, np.ndarray], fields: tuple[str, ...] | None = None
    ) -> dict[str, jax.Array]:
        """The batch on the devices, from this process's `local_rows` of it ([local rows, length] arrays).

        Args:
          fields: which arrays; None: those that the step reads.
        """
        largest = max(int(batch["tokens"].max()), int(batch["targets"].max()))
        if largest >= self.model.padded_vocab_size:
            raise UserError(
                f"the token store has the id {largest}, the model's vocabulary only {self.model.padded_vocab_size}; "
                "build the store with the model's own vocabulary"
            )
        first = self.local_rows.start
        shape = (self.batch_size, batch["tokens"].shape[1])

        def on_devices(array):
            def part(index):
                start, stop, _ = index[0].indices(self.batch_size)
                return array[start - first : stop - first, index[1]]

            return jax.make_array_from_callback(shape, self.batch_sharding, part)

        return {field: on_devices(batch[field]) for field in fields or self.batch_fields}

    @functools.cached_property
    def step(self):
        """(state, batch) → (state, metrics): one update. The old state's memory is reused for the new one.

        Metrics, float32 scalars: what the objective reports (of `TokenLoss`: loss, the cross-entropy, a mean over the
        tokens of the global batch, and z_loss, its part), gradient_norm (before clipping), learning_rate, and the number
        of the objective's units in the batch (tokens: their weight). With a mixture of experts also
        router_loss (load-balancing loss, mean over layers; 1 when even) and expert_load (the largest share of a layer's
        assignments that one expert got; 1 / experts when even).
        """
        return jax.jit(
            self._step, donate_argnums=0, in_shardings=(self.state_shardings, self._batch_shardings),
            out_shardings=(self.state_shardings, replicated(self.mesh)),
            compiler_options=dict(self.compiler_options or {}),
        )  # fmt: skip

    @functools.cached_property
    def evaluate(self):
        """(weights, batch) → (sums of what the objective reports, number of its units), without dropout."""
        return jax.jit(
            self._evaluate, in_shardings=(self.weight_shardings, self._batch_shardings),
            out_shardings=replicated(self.mesh),
        )  # fmt: skip

    @functools.cached_property
    def score(self):
        """(weights, batch) → log p of each target [batch, length] float32, whole on every process."""
        fields = dict.fromkeys(self.text_fields, self.batch_sharding)
        return jax.jit(
            self._score, in_shardings=(self.weight_shardings, fields), out_shardings=replicated(self.mesh)
        )  # fmt: skip

    @property
    def _batch_shardings(self):
        return dict.fromkeys(self.batch_fields, self.batch_sharding)

    def abstract_batch(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and types of a batch, for compiling the step ahead of time."""
        shape = (self.batch_size, self.sequence_length)
        dtypes = dict.fromkeys(self.batch_fields, jnp.int32)
        dtypes |= dict.fromkeys(("loss_weights", *self.goal.fields), jnp.float32)
        return {
            field: jax.ShapeDtypeStruct(shape, dtypes[field], sharding=self.batch_sharding)
            for field in self.batch_fields
        }

    def _placed(self):
        if self.mesh.size == 1:
            return contextlib.nullcontext()
        return placed_by(Placement(self.mesh, self.layout))

    def _outcome(self, trained, frozen, batch, total, key) -> Outcome:
        decoder = assemble(self.definition, join(frozen, trained))
        return self.goal.outcome(
            decoder, lambda: assemble(self.base_definition, frozen), batch, total, key
        )

    def _evaluate(self, weights, batch):
        with self._placed():
            trained, frozen = split_trained(self.model, weights)
            outcome = self._outcome(trained, frozen, batch, jnp.ones(()), None)
        return outcome.report, self.goal.total(batch)

    def _score(self, weights, batch):
        with self._placed():
            decoder = assemble(self.definition, weights)
            hidden = decoder.hidden(
                batch["tokens"], batch.get("segment_ids"), batch.get("positions")
            )
            return token_log_probabilities(
                hidden, decoder.output_kernel(), batch["targets"], chunks=self.model.loss_chunks
            )

    def _step(self, state: TrainState, batch):
        with self._placed():
            gradients, (report, balance), total = self._gradients(state, batch)
            gradients, norm = self.optimizer.clip(gradients)
            updates, optimizer = self.transformation.update(
                gradients, state.optimizer, state.parameters
            )
            parameters = optax.apply_updates(state.parameters, updates)
        metrics = {
            **report,
            "gradient_norm": norm,
            "learning_rate": self.optimizer.learning_rate_at(state.step),
            self.goal.unit: total,
        }
        if balance is not None:
            metrics |= {"router_loss": balance.loss.mean(), "expert_load": balance.shares.max()}
        return TrainState(state.step + 1, parameters, optimizer, state.frozen), metrics

    def _gradients(self, state, batch):
        """Gradient and (report, balance) of the mean over the whole batch, and its number of units."""
        total = self.goal.total(batch)
        key = None
        if self.model.uses_dropout:
            key = jax.random.fold_in(jax.random.key(self.seed), state.step)
        gradient = jax.grad(self._objective, has_aux=True)
        if self.accumulation == 1:
            return *gradient(state.parameters, state.frozen, batch, total, key), total

        def part(sums, indexed):
            index, batch = indexed
            part_key = None if key is None else jax.random.fold_in(key, index)
            gradients, (report, balance) = gradient(
                state.parameters, state.frozen, batch, total, part_key
            )
            return jax.tree.map(jnp.add, sums, (gradients, report)), balance

        split = jax.tree.map(self._split, batch)
        report = jax.eval_shape(
            self._objective, state.parameters, state.frozen, jax.tree.map(lambda x: x[0], split), total, key
        )[1][0]  # fmt: skip
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (state.parameters, report))
        (gradients, report), balances = jax.lax.scan(
            part, zeros, (jnp.arange(self.accumulation), split)
        )
        balance = jax.tree.map(lambda values: values.mean(0), balances)
        return gradients, (report, balance), total

    def _split(self, x):
        """[batch, length] → [accumulation, part, length]; strided, so that every part is spread over all devices."""
        return jnp.moveaxis(x.reshape(-1, self.accumulation, x.shape[1]), 1, 0)

    def _objective(self, trained, frozen, batch, total, key):
        """What a part of the batch adds to the quantity that is minimised, and what is reported of it."""
        loss, report, balance = self._outcome(trained, frozen, batch, total, key)
        if self.router_loss > 0:
            loss = loss + self.router_loss * balance.loss.sum() / self.accumulation
        return loss, (report, balance)
