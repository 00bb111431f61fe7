"""A decoder from wherever it lies: a run of ours, a Hugging Face directory, or a PEFT adapter over one of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import jax

from llmjp_jax.checkpoints.hf import load_hf
from llmjp_jax.checkpoints.manager import Checkpoints
from llmjp_jax.checkpoints.peft import adapted_config, base_directory, read_adapter
from llmjp_jax.checkpoints.peft_config import ADAPTER_CONFIG, read_adapter_config
from llmjp_jax.checkpoints.runs import read_model_config, read_run, resolved_step, saved_steps
from llmjp_jax.errors import UserError
from llmjp_jax.models import (
    Decoder,
    ModelConfig,
    abstract_decoder,
    adapters_of,
    assemble,
    disassemble,
    join,
    merge_adapters,
    without_adapters,
)


def load_model(
    path: str | os.PathLike,
    step: int | str | None = None,
    mesh: jax.sharding.Mesh | None = None,
    dtype: str | None = None,
    layout: Any = None,
    base: str | os.PathLike | None = None,
) -> tuple[ModelConfig, Decoder]:
    """The model of a directory of any kind: run.json makes it a run, adapter_config.json a PEFT adapter, config.json a
    Hugging Face model.

    Args:
      step: which checkpoint of a run; None: the newest; 'best': that of the lowest validation loss.
      mesh: where to lay the parameters out; None: on one device.
      dtype: of the parameters; None: as they are stored.
      layout: changes to `parallel.LAYOUT`.
      base: the model under the adapters, where they are not to take the one that they name.

    Returns:
      The config, which has `lora` where the directory holds adapters, and the decoder, whose adapters are its own
      parameters (`merged` makes them part of the matrices).

    Raises:
      UserError: the directory holds no model, or a damaged one, or the model under the adapters is missing.
    """
    path = Path(path)
    kind = _kind_of(path)
    if kind == "run":
        return load_run(path, step, mesh, dtype, layout, base)
    resolved_step(path, step)
    if kind == "adapter":
        return load_peft(path, base, mesh, dtype, layout)
    if base is not None:
        raise UserError(f"{path} is a whole model and takes no base; leave base out")
    return load_hf(path, mesh, dtype, layout)


def vocabulary_path(path: str | os.PathLike, base: str | os.PathLike | None = None) -> Path:
    """Where the vocabulary of a model's directory lies, for `load_vocabulary`.

    In the directory itself; else a run's is where its run.json says, and an adapter's is that of the model under it
    (`base`, as in `load_model`).

    Raises:
      UserError: the directory holds no model, or a run's vocabulary is not where it was.
    """
    path = Path(path)
    kind = _kind_of(path)
    for name in ("tokenizer.json", "tokenizer.model"):
        if (path / name).is_file():
            return path / name
    if kind == "adapter":
        base = base_directory(path, read_adapter_config(path)) if base is None else base
        return vocabulary_path(base)
    if kind == "hf":
        return path
    recorded = read_run(path).get("vocabulary")
    if not recorded or not Path(recorded).exists():
        raise UserError(
            f"{path} has no tokenizer.model, and the vocabulary that its run.json names is not there ({recorded}); "
            "copy the tokenizer to that folder or give vocabulary=..."
        )
    return Path(recorded)


def base_of(path: str | os.PathLike) -> Path:
    """The directory of the model under the adapters of a run or of a PEFT adapter.

    Raises:
      UserError: it holds no adapters, or that directory is not there.
    """
    path = Path(path)
    if _kind_of(path) == "adapter":
        return base_directory(path, read_adapter_config(path))
    if not holds_adapters(path):
        raise UserError(f"{path} holds a whole model and no adapters; give a run or an adapter of LoRA")  # fmt: skip
    return Path(_recorded_base(path)["path"])


def holds_adapters(path: str | os.PathLike) -> bool:
    """Whether a directory is a PEFT adapter, or a run that trained adapters."""
    kind = _kind_of(Path(path))
    return kind == "adapter" or (kind == "run" and read_model_config(path).lora is not None)


def _kind_of(path: Path) -> Literal["run", "adapter", "hf"]:
    if not path.is_dir():
        raise UserError(
            f"{path} is not a folder; give a run's MODEL_DIR, a Hugging Face model's or an adapter's folder"
        )
    files = {"run.json": "run", ADAPTER_CONFIG: "adapter", "config.json": "hf"}
    for file, kind in files.items():
        if (path / file).is_file():
            return kind
    raise UserError(
        f"{path} holds no model: neither run.json (a run) nor config.json (Hugging Face) nor {ADAPTER_CONFIG} "
        "(a PEFT adapter); give a folder with one"
    )


def load_run(
    model_dir: str | os.PathLike,
    step: int | str | None = None,
    mesh: jax.sharding.Mesh | None = None,
    dtype: str | None = None,
    layout: Any = None,
    base: str | os.PathLike | None = None,
) -> tuple[ModelConfig, Decoder]:
    """The model of a run directory; of a run that trained adapters, with the model that it began from under them.

    Args:
      model_dir: what a run was given as MODEL_DIR. The others: see `load_model`.

    Raises:
      UserError: the folder holds no run, or not that step, or the model under its adapters is missing.
    """
    config = read_model_config(model_dir)
    step = resolved_step(model_dir, step)
    if config.lora is None and base is not None:
        raise UserError(f"{model_dir} is a whole model and takes no base; leave base out")
    under = {}
    if config.lora is not None:
        under = _parameters_under(model_dir, config, base, mesh, dtype, layout)
    definition, abstract, _ = abstract_decoder(config)
    abstract = placed(config, abstract, mesh, dtype, layout)
    checkpoints = Checkpoints(model_dir, read_only=True)
    try:
        trained = abstract if config.lora is None else adapters_of(abstract)
        trained = checkpoints.restore_parameters(step, trained)
        return config, assemble(definition, join(under, trained))
    finally:
        checkpoints.close()


def load_peft(
    directory: str | os.PathLike,
    base: str | os.PathLike | None = None,
    mesh: jax.sharding.Mesh | None = None,
    dtype: str | None = None,
    layout: Any = None,
) -> tuple[ModelConfig, Decoder]:
    """The model of a PEFT LoRA adapter: its base, and the adapters as parameters of their own.

    Args:
      directory: holds adapter_config.json and adapter_model.safetensors.
      base: the model under it, of any kind; None: what the adapter names as base_model_name_or_path, seen from the
        adapter's directory or from where the program runs. The others: see `load_model`.

    Raises:
      UserError: the base is missing or another model, the files are damaged, or the adapter is of a kind that is not
        computed here; the sentence names the field.
    """
    directory = Path(directory)
    adapter = read_adapter_config(directory)
    base = base_directory(directory, adapter) if base is None else Path(base)
    config, decoder = load_model(base, None, mesh, dtype, layout)
    if config.lora is not None:
        config, decoder = merged(config, decoder)
    config = adapted_config(directory, adapter, config)
    definition, abstract, _ = abstract_decoder(config)
    abstract = placed(config, adapters_of(abstract), mesh, dtype, layout)
    parameters = disassemble(decoder)
    adapters = read_adapter(directory, config, abstract, parameters)
    return config, assemble(definition, join(parameters, adapters))


def merged(config: ModelConfig, decoder: Decoder) -> tuple[ModelConfig, Decoder]:
    """The model without adapters whose matrices have them added, laid out as before; the decoder given is used up."""
    if config.lora is None:
        return config, decoder
    parameters = disassemble(decoder)
    matrices, adapters = without_adapters(parameters), adapters_of(parameters)
    plain = merge_adapters(config, {})[0]
    # Compiled, so that each sum takes its matrix's place: large models do not fit twice.
    add = jax.jit(
        lambda matrices, adapters: merge_adapters(config, join(matrices, adapters))[1],
        out_shardings=jax.tree.map(lambda array: array.sharding, matrices),
        donate_argnums=0,
    )
    return plain, assemble(abstract_decoder(plain)[0], add(matrices, adapters))


def placed(
    config: ModelConfig,
    abstract: Any,
    mesh: jax.sharding.Mesh | None,
    dtype: str | None,
    layout: Any,
) -> Any:
    """Abstract arrays, all of the model's or its adapters alone, with the place and the dtype that they will have."""
    from llmjp_jax.parallel import parameter_shardings

    if mesh is None:
        whole = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        shardings = jax.tree.map(lambda _: whole, abstract)
    else:
        shardings = parameter_shardings(config, mesh, layout)
        if jax.tree.structure(shardings) != jax.tree.structure(abstract):
            shardings = adapters_of(shardings)
    return jax.tree.map(
        lambda array, sharding: jax.ShapeDtypeStruct(array.shape, dtype or array.dtype, sharding=sharding),
        abstract, shardings,
    )  # fmt: skip


def _parameters_under(
    model_dir: str | os.PathLike, config: ModelConfig, base: str | os.PathLike | None, mesh: Any, dtype: Any, layout: Any
) -> Any:  # fmt: skip
    """The parameters of the model that a run's adapters were trained on."""
    recorded = {"path": base, "step": None} if base is not None else _recorded_base(model_dir)
    path, step = recorded["path"], recorded.get("step")
    if step is not None and step not in saved_steps(path):
        raise UserError(
            f"{model_dir} holds adapters alone, over step {step} of {path}, which has no such checkpoint any more; put it "
            "back (CheckpointConfig.keep_period keeps steps for ever), or give an export of that step as base"
        )
    _, decoder = load_model(path, step, mesh, dtype, layout)
    parameters = without_adapters(disassemble(decoder))
    wanted = without_adapters(abstract_decoder(config)[1])
    if _shapes(wanted) != _shapes(parameters):
        raise UserError(
            f"{path} holds another model than the one that the adapters of {model_dir} were trained on; "
            "put that one back, or write where it is into 'base' of its run.json"
        )
    return parameters


def _recorded_base(model_dir: str | os.PathLike) -> dict[str, Any]:
    """`path` and `step` of the model under a run's adapters, which is there."""
    recorded = read_run(model_dir).get("base") or {}
    path = recorded.get("path")
    if path is None:
        raise UserError(
            f"{Path(model_dir) / 'run.json'} has adapters and names no model under them; "
            "give it as base, or write its directory into 'base'"
        )
    if not Path(path).is_dir():
        raise UserError(
            f"{model_dir} holds adapters alone, and the model under them is not at {path}; "
            "put it back there, or write where it is into 'base' of its run.json"
        )
    return recorded


def _shapes(parameters: Any) -> Any:
    return jax.tree.map(lambda array: array.shape, parameters)
