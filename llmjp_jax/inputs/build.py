"""Building token stores from registered SeqIO Tasks and Mixtures. Needs SeqIO; reading the stores does not.

    cache_task("quickstart", "cache")   after `register_corpora`, or with module="my_tasks"

A build that was killed goes on where it last saved its progress, and ends in the same bytes as one that was not.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from math import lcm
from pathlib import Path

import numpy as np
from tqdm import tqdm

import llmjp_jax
from llmjp_jax.conversations import get_template
from llmjp_jax.errors import UserError
from llmjp_jax.files import sha256_file
from llmjp_jax.inputs.blends import write_weights
from llmjp_jax.inputs.example_store import build_examples
from llmjp_jax.inputs.store_writer import PLACE, TokenStoreWriter, describe_source
from llmjp_jax.inputs.token_store import TokenStore, token_dtype
from llmjp_jax.inputs.tokenizing import Chunk, jsonl_chunks, seqio_chunks
from llmjp_jax.tokenizer import Vocabulary, load_vocabulary

_SAVE_EVERY = 2.0  # seconds between fsyncs of the parts


def cache_task(
    task_or_mixture_name: str,
    cache_dir: str | os.PathLike,
    splits: Sequence[str] = ("train", "validation"),
    module: str | None = None,
    num_threads: int | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Builds the token stores of a Task, or of every Task of a Mixture and the Mixture's weights.

    A store that is already there is left alone if vocabulary and sources are those it was built from. Files are known
    by size and time of change, else by sha256; a Task without files of its own (TFDS, a function) by its vocabulary
    alone. A Task of records for tuning (`tasks.register_instruction_task`) becomes stores of examples or of pairs, as
    `build_examples` makes them.

    Args:
      task_or_mixture_name: a registered name.
      cache_dir: stores become CACHE_DIR/<task>/<split>.bin, .idx, .json and .places.npy.
      splits: those that a Task does not have are passed over; it must have one of them.
      module: a module to import first, because it registers the name.
      num_threads: of the tokenizer; default every core.
      overwrite: build again where vocabulary or sources have changed.

    Returns:
      The prefixes of the stores.

    Raises:
      UserError: the name is unknown, a source is missing or has a bad line, the vocabulary cannot end documents, or a
        store of other sources is in the way.
    """
    from llmjp_jax.tasks import get_task_or_mixture, record_source

    provider = get_task_or_mixture(task_or_mixture_name, module)
    cache_dir = Path(cache_dir)
    tasks = _in_given_order(provider) if hasattr(provider, "tasks") else None
    prefixes = []
    for task in tasks or [provider]:
        present = [split for split in splits if split in task.splits]
        if not present:
            raise UserError(
                f"Task {task.name} has none of the splits {', '.join(splits)}; it has {', '.join(task.splits)}"
            )
        for split in present:
            prefix = cache_dir / task.name / split
            build = _build_examples if record_source(task) else _build_store
            build(task, split, prefix, num_threads, overwrite)
            prefixes.append(prefix)
    if tasks:
        weights = integer_weights({task.name: provider.get_rate(task) for task in tasks})
        write_weights(cache_dir, provider.name, weights)
    return prefixes


def _in_given_order(mixture) -> list:
    """A Mixture's Tasks as it was given them, those of Mixtures in it last: SeqIO itself sorts them by name.

    Megatron's blend depends on the order.
    """
    given = {name: place for place, name in enumerate(mixture.rate_per_task_name)}
    return sorted(mixture.tasks, key=lambda task: (given.get(task.name, len(given)), task.name))


def integer_weights(rates: dict[str, float]) -> dict[str, int]:
    """Mixture rates as integers in exactly their proportions, as they are written in decimals.

    `{"ja": 0.5, "en": 0.45, "code": 0.05}` becomes `{"ja": 10, "en": 9, "code": 1}`; whole numbers stay as they are.
    """
    exact = {name: Fraction(str(rate)) for name, rate in rates.items()}
    scale = lcm(*(rate.denominator for rate in exact.values()))
    return {name: int(rate * scale) for name, rate in exact.items() if rate > 0}


def _build_store(task, split: str, prefix: Path, num_threads: int | None, overwrite: bool) -> None:
    from llmjp_jax.tasks import plain_text_source

    vocabulary = _vocabulary_of(task)
    source = plain_text_source(task)
    files = list(source.list_shards(split)) if source else []
    sources = [describe_source(path) for path in files]

    def difference(store: TokenStore) -> str | None:
        found = _difference(store, vocabulary, sources)
        return found or ("it holds examples for tuning" if "kind" in store.manifest else None)

    if _stands(prefix, overwrite, difference):
        return
    identity = {"task": task.name, "vocabulary": vocabulary.fingerprint, "sources": sources}
    writer = TokenStoreWriter(
        prefix, token_dtype(vocabulary.vocab_size), PLACE if source else None, resume=True
    )
    if writer.progress is not None and writer.progress["identity"] != identity:
        writer.restart()
    try:
        progress = writer.progress or {
            "identity": identity,
            "position": None,
            "text_bytes": 0,
            "unknown": 0,
        }
        if source:
            chunks = jsonl_chunks(files, vocabulary, progress["position"], num_threads)
        else:
            chunks = seqio_chunks(task, split, vocabulary, progress["position"])
        progress = _write(writer, chunks, progress, vocabulary, f"{task.name} {split}", sources)
        if not writer.documents:
            raise UserError(
                f"the {split} split of Task {task.name} has no documents; check its source"
            )
        _commit(writer, progress, task.name, split, vocabulary, files)
    finally:
        writer.close()


def _build_examples(task, split: str, prefix: Path, num_threads: int | None, overwrite: bool) -> None:  # fmt: skip
    """A store of a Task of records; one that was interrupted begins anew, which takes seconds."""
    from llmjp_jax.tasks import record_source

    source = record_source(task)
    files = source.list_shards(split)
    sources = [describe_source(path) for path in files]

    def difference(store: TokenStore) -> str | None:
        return _difference(store, source.vocabulary, sources) or _other_reading(store, source)

    if not _stands(prefix, overwrite, difference):
        build_examples(
            files, source.vocabulary, source.template, prefix, kind=source.kind, bos=source.bos,
            num_threads=num_threads, details={"task": task.name, "split": split},
        )  # fmt: skip


def _other_reading(store: TokenStore, source) -> str | None:
    """How a store of records was read otherwise than its Task reads them; None if alike."""
    bos = source.bos or get_template(source.template).bos
    for field, asked in (("kind", source.kind), ("template", source.template), ("bos", bos)):
        built = store.manifest.get(field)
        if built != asked:
            return f"it was built with {field} = {built!r}, and the Task has {asked!r}"
    return None


def _stands(prefix: Path, overwrite: bool, difference: Callable[[TokenStore], str | None]) -> bool:
    """Whether a store is there already and may stay.

    Raises:
      UserError: it differs from what is to be built, and `overwrite` does not say that it may go.
    """
    if not prefix.with_name(f"{prefix.name}.idx").exists():
        return False
    found = difference(TokenStore(prefix))
    if found is not None and not overwrite:
        raise UserError(
            f"the store {prefix} is in the way: {found}; build it again with --overwrite or choose another "
            "--cache_dir"
        )
    return found is None


def _write(
    writer: TokenStoreWriter,
    chunks: Iterator[Chunk],
    progress: dict,
    vocabulary: Vocabulary,
    label: str,
    sources,
) -> dict:
    """Appends the chunks, saves the progress every few seconds, and returns the last of it."""
    progress, saved = dict(progress), time.monotonic()
    total = sum(source["bytes"] for source in sources) or None
    before = [0, *np.cumsum([source["bytes"] for source in sources]).tolist()]

    def read_so_far() -> int:
        position = progress["position"]
        if position is None:
            return 0
        return before[position[0]] + position[1] if sources else position

    unit = "B" if sources else "examples"
    with tqdm(total=total, initial=read_so_far(), unit=unit, unit_scale=True, desc=label) as bar:
        for chunk in chunks:
            progress["unknown"] += _count_unknown(chunk, vocabulary, label)
            progress["text_bytes"] += chunk.text_bytes
            progress["position"] = chunk.position
            writer.add_documents(chunk.ids, chunk.lengths, chunk.places)
            bar.update(read_so_far() - bar.n)
            if time.monotonic() - saved > _SAVE_EVERY:
                writer.save_progress(progress)
                saved = time.monotonic()
    return progress


def _count_unknown(chunk: Chunk, vocabulary: Vocabulary, label: str) -> int:
    """How many ids are <unk>: text that the model will never see. With byte fallback there can be none."""
    if vocabulary.unk_id is None:
        return 0
    unknown = int(np.count_nonzero(chunk.ids == vocabulary.unk_id))
    if unknown and "<0x00>" in vocabulary.pieces:
        raise UserError(
            f"{label}: vocabulary {vocabulary.path} gave <unk> (id {vocabulary.unk_id}) although it has pieces for "
            "bytes; it was made without byte_fallback: train it again with it"
        )
    return unknown


def _commit(
    writer: TokenStoreWriter,
    progress: dict,
    task: str,
    split: str,
    vocabulary: Vocabulary,
    files: list[str],
) -> None:
    sources = [describe_source(path) | {"sha256": sha256_file(path)} for path in files]
    for now, then in zip(sources, progress["identity"]["sources"], strict=True):
        if any(now[key] != then[key] for key in then):
            raise UserError(f"{now['path']} changed while it was read; run the command again")
    writer.commit(
        {
            "task": task,
            "split": split,
            "package_version": llmjp_jax.__version__,
            "vocabulary": {
                "path": vocabulary.path,
                "fingerprint": vocabulary.fingerprint,
                "vocab_size": vocabulary.vocab_size,
                "eos_id": vocabulary.eos_id,
            },
            "documents": writer.documents,
            "tokens": writer.tokens,
            "text_bytes": progress["text_bytes"],
            "unknown_tokens": progress["unknown"],
            "dtype": writer.dtype.name,
            "sha256": writer.sha256(),
            "sources": sources,
        }
    )


def _difference(store: TokenStore, vocabulary: Vocabulary, sources: list[dict]) -> str | None:
    """What a finished store was built from that is no longer so; None if nothing."""
    if store.manifest is None:
        return "it has no manifest, so it was not built by this program"
    if store.manifest["vocabulary"]["fingerprint"] != vocabulary.fingerprint:
        return f"it was built with another vocabulary ({store.manifest['vocabulary']['path']})"
    built = store.manifest["sources"]
    if len(built) != len(sources):
        return f"it was built from {len(built)} files and the Task has {len(sources)}"
    for then, now in zip(built, sources, strict=True):
        if all(then[key] == now[key] for key in now):
            continue
        if then["bytes"] != now["bytes"] or then["sha256"] != sha256_file(now["path"]):
            return f"its source {now['path']} has changed"
    return None


def _vocabulary_of(task) -> Vocabulary:
    """The vocabulary of the Task's targets, as ours, for its fingerprint."""
    if "targets" not in task.output_features:
        raise UserError(f"Task {task.name} has no feature targets; name the ids of a document so")
    vocabulary = task.output_features["targets"].vocabulary
    model = getattr(vocabulary, "sentencepiece_model_file", None)
    if not isinstance(vocabulary, Vocabulary) and model:
        vocabulary = load_vocabulary(model)
    if not isinstance(vocabulary, Vocabulary):
        raise UserError(
            f"Task {task.name} has a {type(vocabulary).__name__}; give its targets a vocabulary of load_vocabulary"
        )
    if vocabulary.eos_id is None:
        raise UserError(
            f"vocabulary {vocabulary.path} names no end-of-document token; use one with eos or <EOD>"
        )
    return vocabulary
