"""LoRA adapters as PEFT has them, both ways: adapter_config.json and adapter_model.safetensors.

PEFT names a factor after the module that it adapts, `base_model.model.<module>.lora_A.weight` [rank, in] and
`.lora_B.weight` [out, rank], those of a table `.lora_embedding_A` and `.lora_embedding_B`. Which module is which matrix of
ours stands in `hf_layouts.py`.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from llmjp_jax.checkpoints.hf_config import family_of
from llmjp_jax.checkpoints.hf_directory import METADATA, new_directory
from llmjp_jax.checkpoints.hf_layouts import Row, flatten, rows_of, unflatten
from llmjp_jax.checkpoints.peft_config import (
    ADAPTER_CONFIG,
    AdapterConfig,
    write_adapter_config,
)
from llmjp_jax.checkpoints.safetensors_files import (
    Description,
    StoredTensor,
    read_header,
    write_file,
)
from llmjp_jax.errors import UserError
from llmjp_jax.models import (
    Decoder,
    LoraConfig,
    ModelConfig,
    abstract_decoder,
    adapters_of,
    disassemble,
)

ADAPTER_FILE = "adapter_model.safetensors"
_PREFIX = "base_model.model."


@dataclasses.dataclass(frozen=True)
class _Site:
    """A matrix that an adapter may sit on, in one layer or in all.

    Attributes:
      row: its tensor; target: its name in `LoraConfig.targets`.
      a: the path of our A; b: of our B, one for each of the row's parameters.
    """

    row: Row
    target: str

    @property
    def module(self) -> str:
        """The Hugging Face module, with `{layer}` for its number."""
        return self.row.name.removesuffix(".weight")

    @property
    def suffixes(self) -> tuple[str, str]:
        if self.target == "embedding":
            return ".lora_embedding_A", ".lora_embedding_B"
        return ".lora_A.weight", ".lora_B.weight"

    def names(self, layers: int) -> dict[tuple[int, ...], tuple[str, str]]:
        """PEFT's names of A and B, by the number of the layer."""
        return {
            numbers: tuple(
                _PREFIX + name.removesuffix(".weight") + suffix for suffix in self.suffixes
            )
            for numbers, name in self.row.names((layers,)).items()
        }

    def paths(self, targets: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        """Where our A lies, and our B for each of the row's parameters, in a model with these targets."""
        rooms = [parameter.rsplit("/", 1)[0] for parameter in self.row.parameters]
        if "query_key_value" in targets and "/attention/" in rooms[0] and self.target != "output":
            attention = rooms[0].rsplit("/", 1)[0]
            return f"{attention}/lora/a", tuple(
                f"{attention}/lora/{room.rsplit('/', 1)[1]}" for room in rooms
            )
        return f"{rooms[0]}/lora/a", (f"{rooms[0]}/lora/b",)


def _sites(family: str, config: ModelConfig) -> list[_Site]:
    """The matrices of a family that adapters may sit on."""
    plain = dataclasses.replace(config, lora=None)
    shapes = {path: leaf.shape for path, leaf in flatten(abstract_decoder(plain)[1]).items()}
    named = {"embed/tokens": "embedding", "head/kernel": "head"}
    sites = []
    for row in rows_of(family, shapes):
        first = row.parameters[0]
        room, _, leaf = first.rpartition("/")
        target = named.get(first, room.rpartition("/")[2] if leaf == "kernel" else None)
        if target is not None and "{expert}" not in row.name:
            sites.append(_Site(row, "query_key_value" if len(row.parameters) > 1 else target))
    return sites


def save_peft(
    model: Decoder,
    config: ModelConfig,
    directory: str | os.PathLike,
    base_path: str | None,
    overwrite: bool = False,
) -> None:
    """Writes the adapters of a model as a directory that `peft.PeftModel.from_pretrained` loads, 0.7 and newer.

    Args:
      base_path: what adapter_config.json shall name as the model under the adapter: the path, or the name on a hub, by
        which PEFT will find it.
      overwrite: replace an adapter that something else wrote.

    A Llama's query_key_value becomes three adapters that share their A.

    Raises:
      UserError: the model has no adapters, or some that PEFT cannot express, or the directory holds something else.
    """
    if config.lora is None:
        raise UserError("save_peft needs a model with adapters; this one has ModelConfig.lora = None, export it with save_hf")  # fmt: skip
    plain = dataclasses.replace(config, lora=None)
    family = family_of(plain)
    sites = _adapted_sites(family, config)
    parameters = flatten(adapters_of(disassemble(model)))
    if not all(array.is_fully_addressable for array in parameters.values()):
        raise UserError("save_peft needs all adapters in one process; convert the run with tools/convert_checkpoint.py")  # fmt: skip
    tensors = {
        name: np.ascontiguousarray(tensor)
        for site in sites
        for name, tensor in _to_file(site, config, parameters)
    }
    descriptions = [Description(name, array.dtype, array.shape) for name, array in tensors.items()]
    lora = config.lora
    adapter = AdapterConfig(base_path, lora.rank, lora.alpha, lora.dropout)
    fields = write_adapter_config(adapter, _target_modules(family, sites), family == "gpt2")
    with new_directory(Path(directory), overwrite) as temporary:
        write_file(temporary / ADAPTER_FILE, descriptions, tensors.values(), METADATA)
        text = json.dumps(fields, indent=2, ensure_ascii=False) + "\n"
        (temporary / ADAPTER_CONFIG).write_text(text, encoding="utf-8")


def _adapted_sites(family: str, config: ModelConfig) -> list[_Site]:
    targets = set(config.lora.targets)
    sites = _sites(family, config)
    if "query_key_value" in targets and not any(site.target == "query_key_value" for site in sites):
        targets |= {"query", "key", "value"}
    found = [site for site in sites if site.target in targets]
    missing = targets - {site.target for site in found} - {"query_key_value"}
    if missing:
        raise UserError(
            f"Hugging Face's {family} has no matrix of its own for {', '.join(sorted(missing))}, so PEFT cannot express "
            "these adapters (GPT-2 wants query_key_value); merge them and export the whole model"
        )
    return found


def _target_modules(family: str, sites: list[_Site]) -> list[str]:
    """Ends of module names, as short as they can be without meaning another module too."""
    names = {site.target: site.module.rpartition(".")[2] for site in sites}
    if family == "gpt2" and ("output" in names) != ("down" in names):
        # Both matrices are called c_proj.
        target, room = ("output", "attn") if "output" in names else ("down", "mlp")
        names[target] = f"{room}.c_proj"
    return list(dict.fromkeys(names.values()))


def _to_file(
    site: _Site, config: ModelConfig, parameters: dict[str, Any]
) -> Iterator[tuple[str, np.ndarray]]:
    """PEFT's tensors of a site: [rank, in] and [out, rank] for each layer."""
    rank = config.lora.rank
    a_path, b_paths = site.paths(config.lora.targets)
    a, bs = np.asarray(parameters[a_path]), [np.asarray(parameters[path]) for path in b_paths]
    for numbers, (a_name, b_name) in site.names(config.layers).items():
        yield a_name, a[numbers].reshape(-1, rank).T
        yield b_name, np.concatenate([b[numbers].reshape(rank, -1) for b in bs], axis=-1).T


def base_directory(directory: Path, adapter: AdapterConfig) -> Path:
    """Where the model under an adapter lies: seen from the adapter's directory, else from where the program runs.

    Raises:
      UserError: in neither place.
    """
    if adapter.base is None:
        raise UserError(
            f"{directory / ADAPTER_CONFIG} names no base_model_name_or_path; give the model under the adapter as base"
        )
    for path in (directory / adapter.base, Path(adapter.base)):
        if path.is_dir():
            return path
    raise UserError(
        f"the model under the adapter {directory} is not at {adapter.base}, which its {ADAPTER_CONFIG} names; "
        "put it there, or give its directory as base"
    )


def adapted_config(directory: Path, adapter: AdapterConfig, config: ModelConfig) -> ModelConfig:
    """The config of the model under an adapter, with the matrices that the adapter's file has factors for.

    Raises:
      UserError: the file is missing, or has none for this model.
    """
    tensors = _adapter_tensors(directory)
    targets = [
        site.target
        for site in _sites(family_of(config), config)
        if any(a in tensors for a, _ in site.names(config.layers).values())
    ]
    if not targets:
        raise UserError(
            f"{directory / ADAPTER_FILE} has no adapter of a matrix of this model; "
            "give the model that it was trained on as base"
        )
    lora = LoraConfig(
        rank=adapter.rank, alpha=adapter.alpha, dropout=adapter.dropout, targets=targets
    )
    return dataclasses.replace(config, lora=lora)


def read_adapter(directory: Path, config: ModelConfig, abstract: Any, base: Any) -> Any:
    """The adapters of a directory as our parameters.

    Args:
      config: what `adapted_config` gave.
      abstract: the adapters' abstract arrays, with their places.
      base: the parameters of the model under them.

    Raises:
      UserError: the file has not exactly the factors of this model's matrices, in all layers alike.
    """
    tensors = _adapter_tensors(directory)
    abstract, base = flatten(abstract), flatten(base)
    family = family_of(config)
    leaves = {}
    for site in _adapted_sites(family, config):
        a_path, b_paths = site.paths(config.lora.targets)
        paths = (a_path, *b_paths)
        arrays = {path: np.empty(abstract[path].shape, abstract[path].dtype) for path in paths}
        for numbers, names in site.names(config.layers).items():
            a, b = (_factor(name, tensors, directory) for name in names)
            _fill(site, arrays, numbers, a, b)
        for path, array in arrays.items():
            leaves[path] = jax.make_array_from_callback(
                array.shape, abstract[path].sharding, array.__getitem__
            )
    _check_rest(tensors, _sites(family, config), config, base)
    return unflatten(leaves)


def _adapter_tensors(directory: Path) -> dict[str, StoredTensor]:
    file = directory / ADAPTER_FILE
    if not file.is_file():
        pickle = directory / "adapter_model.bin"
        why = " (adapter_model.bin is a pickle, which is never loaded)" if pickle.exists() else ""
        raise UserError(f"{directory} has no {ADAPTER_FILE}{why}; save the adapter with peft's save_pretrained")  # fmt: skip
    return read_header(file)[0]


def _factor(name: str, tensors: dict[str, StoredTensor], directory: Path) -> StoredTensor:
    if name not in tensors:
        raise UserError(
            f"{directory / ADAPTER_FILE} has no tensor {name}, though other layers have theirs; "
            "all layers are adapted alike here: give the model that it was trained on as base, or copy the file again"
        )
    return tensors.pop(name)


def _fill(
    site: _Site, arrays: dict[str, np.ndarray], numbers: tuple, a: StoredTensor, b: StoredTensor
) -> None:
    """Copies PEFT's factors of one layer into ours."""
    a_path, *b_paths = arrays
    ours_a, ours_bs = arrays[a_path][numbers], [arrays[path][numbers] for path in b_paths]
    rank = ours_a.shape[-1]
    wanted_a = (rank, ours_a.size // rank)
    wanted_b = (sum(part.size for part in ours_bs) // rank, rank)
    for tensor, wanted in ((a, wanted_a), (b, wanted_b)):
        if tensor.shape != wanted:
            raise UserError(
                f"{tensor.file}: tensor {tensor.name} has shape {list(tensor.shape)}, this model and "
                f"{ADAPTER_CONFIG} ask for {list(wanted)}; give the model that it was trained on as base"
            )
    ours_a[...] = a.read().T.reshape(ours_a.shape)
    parts = np.split(b.read().T, np.cumsum([part.size // rank for part in ours_bs])[:-1], axis=-1)
    for ours, part in zip(ours_bs, parts, strict=True):
        ours[...] = part.reshape(ours.shape)


def _check_rest(
    tensors: dict[str, StoredTensor], sites: list[_Site], config: ModelConfig, base: dict[str, Any]
) -> None:
    """PEFT stores tables that it adapts, too: they must be those of the base. Nothing else may be left."""
    tables = {
        _PREFIX + site.module + end: site.row.parameters[0]
        for site in sites if not site.row.counted
        for end in (".base_layer.weight", ".weight")
    }  # fmt: skip
    for name, tensor in tensors.items():
        if name not in tables:
            raise UserError(
                f"{tensor.file}: tensor {name} is no adapter of a matrix of this model; "
                "merge the adapter with peft's merge_and_unload and save the model"
            )
        parameter = base[tables[name]]
        ours = np.asarray(parameter) if parameter.is_fully_addressable else None
        theirs = tensor.read() if tables[name] == "embed/tokens" else tensor.read().T
        if ours is not None and not (
            ours.shape == theirs.shape and np.array_equal(ours.astype(theirs.dtype), theirs)
        ):
            raise UserError(
                f"{tensor.file}: tensor {name} is not the base's; the base was changed with the adapter: "
                "merge the adapter with peft's merge_and_unload and save the model"
            )
