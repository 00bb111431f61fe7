"""Hugging Face checkpoints, both ways: GPT2LMHeadModel, LlamaForCausalLM and MixtralForCausalLM as safetensors.

Both directions go array by array, so host memory stays near one copy of the model. Which tensor is which is in
`hf_layouts.py`, config.json in `hf_config.py`, the file format in `safetensors_files.py`.
"""

from __future__ import annotations

import difflib
import functools
import json
import math
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from llmjp_jax.checkpoints.hf_config import family_of, read_config, write_config
from llmjp_jax.checkpoints.hf_directory import METADATA, new_directory
from llmjp_jax.checkpoints.hf_layouts import (
    IGNORED,
    PREFIXES,
    Row,
    Shape,
    flatten,
    rows_of,
    unflatten,
)
from llmjp_jax.checkpoints.safetensors_files import (
    Description,
    StoredTensor,
    into_shards,
    read_headers,
    write_file,
)
from llmjp_jax.errors import UserError
from llmjp_jax.models import Decoder, ModelConfig, abstract_decoder, assemble, disassemble

if TYPE_CHECKING:
    from llmjp_jax.tokenizer import Vocabulary

_DTYPES = ("float32", "bfloat16", "float16")


def load_hf(directory: str | os.PathLike, mesh: jax.sharding.Mesh | None = None,
            dtype: str | None = None, layout: Any = None) -> tuple[ModelConfig, Decoder]:  # fmt: skip
    """Loads a Hugging Face GPT-2, Llama or Mixtral model from its directory.

    Args:
      directory: holds config.json and model.safetensors, or its shards with model.safetensors.index.json.
      mesh: lays every parameter out over these devices; each process reads only what its devices hold.
      dtype: 'float32', 'bfloat16' or 'float16' for the parameters; None keeps what the file has. The dtype of the
        computation is `ModelConfig.dtype`, 'float32' here.
      layout: changes to `parallel.LAYOUT`.

    Raises:
      UserError: the files are missing or damaged, differ from the config, or are of a model that `Decoder` does not
        compute.
    """
    directory = Path(directory)
    family, config = read_config(directory / "config.json")
    definition, abstract, _ = abstract_decoder(config)
    shapes = {path: leaf.shape for path, leaf in flatten(abstract).items()}
    rows = rows_of(family, shapes)
    tensors = _full_names(family, read_headers(directory))
    named = [(row, row.names(shapes[row.parameters[0]])) for row in rows]
    _check_tensors(named, shapes, tensors, config, directory)
    target = _one_dtype(
        {f"{tensor.file}: tensor {name}": tensor.dtype for name, tensor in tensors.items()}, dtype
    )
    shardings = _shardings(config, mesh, layout, shapes)
    leaves = {}
    with _progress("load", sum(tensor.nbytes for tensor in tensors.values()), "B") as bar:
        for row, names in named:
            stored = {numbers: tensors[name] for numbers, name in names.items()}
            for path in row.parameters:
                read = functools.partial(_read, row, path, shapes[path], stored, target)
                leaves[path] = _place(shapes[path], shardings[path], target, read)
            bar.update(sum(tensor.nbytes for tensor in stored.values()))
    return config, assemble(definition, unflatten(leaves))


def save_hf(model: Decoder, config: ModelConfig, directory: str | os.PathLike, vocabulary: Vocabulary | None = None, *,
            dtype: str | None = None, max_shard_bytes: int = 5_000_000_000, overwrite: bool = False,
            chat_template: str | None = None) -> None:  # fmt: skip
    """Writes a model as a directory that transformers loads with `AutoModelForCausalLM`, without code of its own.

    The directory appears whole, by a rename. An earlier export is replaced.

    Args:
      vocabulary: writes its tokenizer files too, and its special ids into config.json and generation_config.json.
      dtype: 'float32', 'bfloat16' or 'float16' of the file; None keeps the parameters' own.
      max_shard_bytes: no file has more bytes of tensors, unless it holds one single tensor.
      overwrite: replace a model's directory that something else wrote; everything in it is lost.
      chat_template: the tokenizer's, Jinja text; see `conversations.Template.chat_template`. It needs a vocabulary.

    Raises:
      UserError: no Hugging Face class computes this model, it has adapters, or the directory holds something else.
    """
    if config.lora is not None:
        raise UserError(
            "save_hf writes whole models; merge the adapters into the matrices first (checkpoints.merged), "
            "or write them alone (save_peft)"
        )
    family = family_of(config)
    if vocabulary is not None and vocabulary.vocab_size > config.vocab_size:
        raise UserError(f"{vocabulary.path} has {vocabulary.vocab_size} ids, the model {config.vocab_size}; "
                        "give the vocabulary that the model was trained with")  # fmt: skip
    if chat_template is not None and vocabulary is None:
        raise UserError("a chat_template belongs to a tokenizer; pass vocabulary too")
    parameters = flatten(disassemble(model))
    if not all(array.is_fully_addressable for array in parameters.values()):
        raise UserError(
            "save_hf needs all parameters in one process; convert the run with tools/convert_checkpoint.py"
        )
    stored_dtype = _one_dtype({path: array.dtype for path, array in parameters.items()}, dtype)
    rows = rows_of(family, {path: array.shape for path, array in parameters.items()})
    special = _special_ids(vocabulary)
    with new_directory(Path(directory), overwrite) as temporary:
        _write_weights(temporary, rows, parameters, stored_dtype, max_shard_bytes)
        _write_json(temporary / "config.json", write_config(config, str(stored_dtype), special))
        _write_json(temporary / "generation_config.json", special)
        if vocabulary is not None:
            _save_tokenizer(vocabulary, temporary, config.max_length, chat_template)


def _save_tokenizer(
    vocabulary: Vocabulary, directory: Path, max_length: int, chat_template: str | None
) -> None:
    """The files that transformers loads; for a .model that is not LLM-jp's, that file alone and a warning."""
    from llmjp_jax.tokenizer import save_hf_tokenizer, save_tokenizer

    try:
        save_hf_tokenizer(
            vocabulary, directory, model_max_length=max_length, chat_template=chat_template
        )
    except UserError as error:
        save_tokenizer(vocabulary, directory)
        without = "" if chat_template is None else " and no chat template"
        warnings.warn(
            f"the export has the tokenizer's .model alone{without}: {error}", stacklevel=3
        )


def _one_dtype(dtypes: dict[str, Any], asked: str | None) -> np.dtype:
    """`asked`, or the one dtype that all these have."""
    if asked is not None:
        if asked not in _DTYPES:
            raise UserError(f"dtype = {asked!r} must be one of {', '.join(_DTYPES)}")
        return np.dtype(jnp.dtype(asked))
    first, *others = dtypes
    for name in others:
        if dtypes[name] != dtypes[first]:
            raise UserError(
                f"{first} is {dtypes[first]} and {name} is {dtypes[name]}; pass dtype to make them alike"
            )
    return np.dtype(dtypes[first])


def _full_names(family: str, tensors: dict[str, StoredTensor]) -> dict[str, StoredTensor]:
    """The tensors without old buffers, under the names that the whole model's class gives them."""
    prefix = PREFIXES[family]
    tensors = {name: tensor for name, tensor in tensors.items() if not name.endswith(IGNORED)}
    if any(name.startswith(prefix) for name in tensors):
        return tensors
    return {
        name if name.startswith("lm_head.") else prefix + name: tensor
        for name, tensor in tensors.items()
    }


def _check_tensors(named: list[tuple[Row, dict]], shapes: dict[str, Shape], tensors: dict[str, StoredTensor],
                   config: ModelConfig, directory: Path) -> None:  # fmt: skip
    """Raises UserError unless the files have exactly the tensors that the config asks for."""
    expected = {}
    for row, names in named:
        expected |= dict.fromkeys(names.values(), row.file_shape(shapes[row.parameters[0]]))
    for name, shape in expected.items():
        if name not in tensors:
            near = difflib.get_close_matches(name, set(tensors) - set(expected), 1)
            hint = f" (there is {near[0]})" if near else ""
            raise UserError(f"{directory} has no tensor {name}{hint}, which its config.json asks for; "
                            "copy the model's own config.json and weights again")  # fmt: skip
        stored = tensors[name]
        if stored.shape != shape:
            raise UserError(f"{stored.file}: tensor {stored.name} has shape {list(stored.shape)}, config.json beside it "
                            f"asks for {list(shape)}; copy the model's own config.json")  # fmt: skip
        if not jnp.issubdtype(stored.dtype, jnp.floating):
            raise UserError(f"{stored.file}: tensor {stored.name} is {stored.dtype}, not floating point; "
                            "quantised models cannot be loaded, take the original")  # fmt: skip
    if config.tied_embeddings and (head := tensors.pop("lm_head.weight", None)):
        embedding = tensors[
            next(row.name for row, _ in named if row.parameters == ("embed/tokens",))
        ]
        if head.shape != embedding.shape or not np.array_equal(head.read(), embedding.read()):
            raise UserError(f"{head.file}: tensor lm_head.weight differs from {embedding.name}, though config.json ties "
                            "them; set tie_word_embeddings to false in config.json")  # fmt: skip
    for name in tensors.keys() - expected.keys():
        stored = tensors[name]
        raise UserError(f"{stored.file}: tensor {stored.name} is not part of the model that config.json beside it "
                        "describes; copy the model's own config.json")  # fmt: skip


def _shardings(config: ModelConfig, mesh: jax.sharding.Mesh | None, layout: Any,
               shapes: dict[str, Shape]) -> dict[str, jax.sharding.Sharding]:  # fmt: skip
    if mesh is None:
        return dict.fromkeys(shapes, jax.sharding.SingleDeviceSharding(jax.local_devices()[0]))
    from llmjp_jax.parallel import parameter_shardings

    return flatten(parameter_shardings(config, mesh, layout))


def _read(row: Row, path: str, shape: Shape, stored: dict[tuple[int, ...], StoredTensor], dtype: np.dtype,
          index: tuple[slice, ...]) -> np.ndarray:  # fmt: skip
    """The part `index` of a parameter of ours, from its tensors."""
    ranges = [range(*part.indices(size)) for part, size in zip(index, shape, strict=True)]
    array = np.empty([len(numbers) for numbers in ranges], dtype)
    counted, rest = ranges[: row.counted], index[row.counted :]
    for place in np.ndindex(*map(len, counted)):
        numbers = tuple(each[i] for each, i in zip(counted, place, strict=True))
        tensor = row.to_ours(stored[numbers].read(), path, shape[row.counted :])
        _copy(array[place], tensor[rest], row)
    return array


def _copy(target: np.ndarray, source: np.ndarray, row: Row) -> None:
    """Copies; a transposed tensor in strips of 256 rows of the file, so that loading is a fourth faster."""
    if not row.transposed:
        target[...] = source
        return
    axis = row.inputs
    strip = max(1, 256 // math.prod(source.shape[axis + 1 :]))
    for start in range(0, source.shape[axis], strip):
        part = (slice(None),) * axis + (slice(start, start + strip),)
        target[part] = source[part]


def _place(shape: Shape, sharding: jax.sharding.Sharding, dtype: np.dtype,
           read: Callable[[tuple[slice, ...]], np.ndarray]) -> jax.Array:  # fmt: skip
    """An array on its devices; a part that several devices hold is read once."""
    parts: dict[str, np.ndarray] = {}

    def part(index):
        key = repr(index)
        if key not in parts:
            parts[key] = read(index)
        return parts[key]

    # Waiting keeps no more than one parameter's host buffers alive.
    return jax.block_until_ready(jax.make_array_from_callback(shape, sharding, part, dtype=dtype))


@functools.partial(jax.jit, static_argnames="dtype")
def _entry(array: jax.Array, numbers: tuple[jax.Array, ...], dtype: np.dtype) -> jax.Array:
    for number in numbers:
        array = jax.lax.dynamic_index_in_dim(array, number, keepdims=False)
    return array.astype(dtype)


def _write_weights(directory: Path, rows: list[Row], parameters: dict[str, jax.Array], dtype: np.dtype,
                   max_shard_bytes: int) -> None:  # fmt: skip
    """Writes the shards and, if there are several, their index; one tensor is on the host at a time."""
    sources = _in_file_order(rows, {path: array.shape for path, array in parameters.items()})
    descriptions = [
        Description(name, dtype, row.file_shape(parameters[row.parameters[0]].shape))
        for name, (row, _) in sources.items()
    ]

    def arrays(shard: list[Description]) -> Iterator[np.ndarray]:
        for tensor in shard:
            row, numbers = sources[tensor.name]
            ours = [_entry(parameters[path], numbers, dtype) for path in row.parameters]
            yield row.to_file([np.asarray(array) for array in ours])
            bar.update(tensor.nbytes)

    shards = into_shards(descriptions, max_shard_bytes)
    total = sum(tensor.nbytes for tensor in descriptions)
    with _progress("save", total, "B") as bar:
        for file, tensors in shards.items():
            write_file(directory / file, tensors, arrays(tensors), METADATA)
    if len(shards) > 1:
        weight_map = {tensor.name: file for file, tensors in shards.items() for tensor in tensors}
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        _write_json(directory / "model.safetensors.index.json", index)


def _in_file_order(
    rows: list[Row], shapes: dict[str, Shape]
) -> dict[str, tuple[Row, tuple[int, ...]]]:
    """Every tensor's name with its row and numbers: the embedding, then layer after layer, then the rest."""
    tensors = [
        (name, (row, numbers))
        for row in rows
        for numbers, name in row.names(shapes[row.parameters[0]]).items()
    ]

    def place(tensor):
        _, (row, numbers) = tensor
        if numbers:
            return 1, numbers[0]
        return (0 if row.parameters[0].startswith("embed/") else 2), 0

    return dict(sorted(tensors, key=place))


def _special_ids(vocabulary: Vocabulary | None) -> dict[str, int | None]:
    roles = ("bos", "eos", "pad")
    return {f"{role}_token_id": getattr(vocabulary, f"{role}_id", None) for role in roles}


def _write_json(file: Path, values: dict[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _progress(action: str, total: int, unit: str) -> tqdm:
    return tqdm(desc=action, total=total, unit=unit, unit_scale=True, delay=2, leave=False)
