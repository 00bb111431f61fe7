"""Embeds the documents of an index: part by part, each of a shard, and on from where it stopped or from what an earlier run made."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tqdm import tqdm

from llmjp_jax.errors import UserError
from llmjp_jax.search.corpus_index import CorpusIndex
from llmjp_jax.search.dense.embedding import Embedder
from llmjp_jax.search.dense.layout import (
    DENSE,
    PARTS,
    DenseModel,
    embedding,
    part_identity,
    read_part,
)
from llmjp_jax.search.dense.part_writer import write_part
from llmjp_jax.search.folder import shard_name
from llmjp_jax.search.results import Where

# A passage of a few sentences: a vector says less of one sentence the more others it has to speak for, and a smaller passage
# makes more vectors.
PASSAGE_TOKENS = 128


def build_dense(
    index: CorpusIndex,
    model_dir: str | os.PathLike,
    *,
    where: Where = Where(),
    passage_tokens: int = PASSAGE_TOKENS,
    batch_size: int = 32,
    device: str | None = None,
    overwrite: bool = False,
) -> DenseModel:
    """Embeds every document of an index, cut into passages; what an earlier run has embedded is left alone.

    After a kill the same command goes on. When stores were added to the index, or were indexed again, it embeds these.

    Args:
      index: gets a folder `dense`.
      model_dir: a model on this machine; see `Embedder`.
      where: the stores to embed.
      passage_tokens: of the model's tokens, the longest passage; never more than what the model reads.
      batch_size: passages that go through the model at a time.
      device: see `Embedder`.
      overwrite: replace the vectors of another model; else they are an error.

    Raises:
      UserError: the extra is missing, the model cannot be loaded, or the index has vectors of another.
    """
    if passage_tokens < 1 or batch_size < 1:
        raise UserError(
            f"passage_tokens = {passage_tokens} and batch_size = {batch_size} must be at least 1"
        )
    chosen = index.chosen(where)
    embedder = Embedder(Path(model_dir), device)
    with embedding(index.folder):
        model = _begin(index.folder, Path(model_dir), embedder, passage_tokens, overwrite)
        parts = index.folder / DENSE / PARTS
        _remove_stale(index, parts, model)
        total = sum(shard.stop - shard.first for _, shard in chosen)
        with tqdm(total=total, unit="document", unit_scale=True, desc="embed") as bar:
            for (subset, split), shard in chosen:
                name = shard_name(subset, split, range(shard.first, shard.stop))
                if (parts / name).exists():
                    bar.update(shard.stop - shard.first)
                else:
                    identity = part_identity(index.folder, name, model)
                    write_part(parts / name, identity, shard, embedder, bar.update, batch_size)
    return model


def _begin(
    folder: Path, model_dir: Path, embedder: Embedder, passage_tokens: int, overwrite: bool
) -> DenseModel:
    model = DenseModel(
        path=str(model_dir.absolute()),
        fingerprint=embedder.fingerprint,
        dimensions=embedder.documents(["."]).shape[1],
        passage_tokens=min(passage_tokens, embedder.window or passage_tokens),
    )
    before = DenseModel.read(folder)
    if before and (before.fingerprint, before.passage_tokens) != (model.fingerprint, model.passage_tokens):  # fmt: skip
        if not overwrite:
            what = (
                f"the model {before.path}, which is not {model_dir}"
                if before.fingerprint != model.fingerprint
                else f"passages of {before.passage_tokens} tokens"
            )
            raise UserError(
                f"{folder} has vectors already, made with {what}; give the same, or embed all again with --overwrite"
            )
        shutil.rmtree(folder / DENSE / PARTS)
        (folder / DENSE / PARTS).mkdir()
    model.write(folder)
    return model


def _remove_stale(index: CorpusIndex, parts: Path, model: DenseModel) -> None:
    """Removes parts of shards that are not in the index any more, or have changed."""
    listed = {name for info in index.stores.values() for name in info.shards}
    for path in parts.iterdir():
        name = path.name.removeprefix(".").removesuffix(".work")
        if name not in listed:
            shutil.rmtree(path)
        elif path.name == name:
            part = read_part(path)
            if part is None or part["identity"] != part_identity(index.folder, name, model):
                shutil.rmtree(path)
