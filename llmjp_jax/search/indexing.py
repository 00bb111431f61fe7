"""Makes an index of token stores, or adds stores to one: in parallel by shards, and on from where a killed build stopped."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from llmjp_jax.corpus.mixtures import task_licences
from llmjp_jax.errors import UserError
from llmjp_jax.inputs import TokenStore
from llmjp_jax.search.folder import INDEX_FILE, SHARDS, TOKENIZER, Contents, StoreInfo, building
from llmjp_jax.search.results import DocumentId
from llmjp_jax.search.shard_writer import ShardJob, write_shard
from llmjp_jax.search.texts import check_sources, has_source_text
from llmjp_jax.tokenizer import Vocabulary, load_vocabulary
from llmjp_jax.tokenizer.hf_export import save_tokenizer

SHARD_TOKENS = 1 << 24  # one process needs about 1 GB for so many, and a search visits each shard


@dataclass(frozen=True)
class _Planned:
    """A store that is to be indexed, with the jobs that make it."""

    store: TokenStore
    subset: str
    split: str
    jobs: tuple[ShardJob, ...]


def build_index(
    folder: str | os.PathLike,
    prefixes: Sequence[str | os.PathLike] | Mapping[Path, tuple[str, str] | None],
    vocabulary: str | os.PathLike,
    *,
    licences: dict[str, str] | None = None,
    decoded_text: bool = False,
    overwrite: bool = False,
    processes: int | None = None,
    shard_tokens: int = SHARD_TOKENS,
) -> Contents:
    """Indexes token stores; those that the index has already, unchanged, are left alone.

    The stores and their text are copied, so that the index is whole without them. Each shard appears when it is whole: after a
    kill the same command makes only those that are missing.

    Args:
      folder: of the index; new, empty, or an index that is to be extended.
      prefixes: of the stores, .../TASK/SPLIT, each without .bin; or each with its (subset, split), where a run has another name
        for it than its manifest or its path.
      vocabulary: that of the stores.
      licences: of Tasks of one's own, by name; those of the manifests' corpora are known.
      decoded_text: index what the ids decode to, even where a store knows its source's text.
      overwrite: index again a store that has changed since; else it is an error.
      processes: that work at a time; default every core.
      shard_tokens: the size of a shard; longer stores become several.

    Raises:
      UserError: a store or its source is missing, changed or of another vocabulary, or the folder is in use or not an index.
    """
    folder, tokenizer = Path(folder), load_vocabulary(vocabulary)
    if shard_tokens < 1 or (processes is not None and processes < 1):
        raise UserError(
            f"shard_tokens = {shard_tokens} and processes = {processes} must be at least 1"
        )
    known = task_licences() | (licences or {})
    with building(folder):
        contents = _begin(folder, tokenizer)
        names = prefixes if isinstance(prefixes, Mapping) else dict.fromkeys(prefixes)
        stores = [_named(Path(prefix), name, tokenizer) for prefix, name in names.items()]
        _refuse_unknown_licences(licences or {}, [subset for _, subset, _ in stores])
        planned = []
        for store, subset, split in stores:
            there = next(
                (s for s in contents.stores if (s.subset, s.split) == (subset, split)), None
            )
            if (
                there
                and there.fingerprint == store.fingerprint
                and (there.text == "decoded") >= decoded_text
            ):
                continue
            if there and not overwrite:
                raise UserError(
                    f"{folder} has another {subset}/{split} than {store.prefix}, which has changed since or was indexed with "
                    "its source's text; index it again with --overwrite"
                )
            if not decoded_text:
                check_sources(store)
            jobs = _jobs(folder, store, subset, split, decoded_text, shard_tokens)
            planned.append(_Planned(store, subset, split, jobs))
        _remove_unwanted(folder, contents, planned)
        _write_all([job for plan in planned for job in plan.jobs], processes or os.cpu_count() or 1)
        for plan in planned:
            info = _described(plan, decoded_text, known.get(plan.subset))
            others = [
                s for s in contents.stores if (s.subset, s.split) != (info.subset, info.split)
            ]
            contents = Contents(vocabulary=contents.vocabulary, stores=(*others, info))
        contents.write(folder)
        _remove_unlisted(folder, contents)
    return contents


def _begin(folder: Path, tokenizer: Vocabulary) -> Contents:
    """What the index holds already, and in a new one the vocabulary's copy."""
    if (folder / INDEX_FILE).exists():
        contents = Contents.read(folder)
        if contents.vocabulary != tokenizer.fingerprint:
            raise UserError(
                f"{folder} was made with another vocabulary than {tokenizer.path}; give that one, or another folder"
            )
        return contents
    (folder / TOKENIZER).mkdir(exist_ok=True)
    save_tokenizer(tokenizer, folder / TOKENIZER)
    return Contents(vocabulary=tokenizer.fingerprint)


def _named(
    prefix: Path, name: tuple[str, str] | None, tokenizer: Vocabulary
) -> tuple[TokenStore, str, str]:
    """A store, its Task and its split: as given, or what its manifest says, or else the names of its folder and file."""
    store = TokenStore(prefix)
    manifest = store.manifest or {}
    built_with = manifest.get("vocabulary", {}).get("fingerprint")
    if built_with and built_with != tokenizer.fingerprint:
        raise UserError(
            f"the store {prefix} was built with vocabulary {manifest['vocabulary']['path']}, and {tokenizer.path} is another; "
            "give that one"
        )
    if not len(store):
        raise UserError(f"the store {prefix} has no documents; leave it away")
    subset, split = name or (
        manifest.get("task", prefix.absolute().parent.name),
        manifest.get("split", prefix.name),
    )
    DocumentId.parse(
        f"{subset}/{split}/0"
    )  # a name that no document's id could hold is refused now
    return store, subset, split


def _refuse_unknown_licences(licences: dict[str, str], subsets: Sequence[str]) -> None:
    for name in licences:
        if name not in subsets:
            raise UserError(f"--licence={name}=... names none of the stores; they are {', '.join(dict.fromkeys(subsets))}")  # fmt: skip


def _jobs(
    folder: Path, store: TokenStore, subset: str, split: str, decode: bool, shard_tokens: int
) -> tuple[ShardJob, ...]:
    """The shards of a store: as many documents each as have about `shard_tokens` tokens, one document at least."""
    decode = decode or not has_source_text(store)
    starts, jobs, first = store.document_starts, [], 0
    while first < len(store):
        end = int(starts[first]) + shard_tokens
        stop = len(store) if end >= store.num_tokens else max(first + 1, starts.document_of(end))
        jobs.append(
            ShardJob(
                str(folder),
                str(store.prefix),
                subset,
                split,
                first,
                stop,
                store.fingerprint,
                str(folder / TOKENIZER),
                decode,
            )  # fmt: skip
        )
        first = stop
    return tuple(jobs)


def _remove_unwanted(folder: Path, contents: Contents, planned: Sequence[_Planned]) -> None:
    """Removes shards of an earlier, unfinished build that were made of other stores than these.

    Those of a store that is replaced go when the new ones stand; a name that both would have is taken from the old store now.
    """
    wanted = {job.name: job.identity for plan in planned for job in plan.jobs}
    listed = {name for store in contents.stores for name in store.shards}
    taken = [
        s
        for s in contents.stores
        if set(s.shards) & {n for n in wanted if _identity(folder / SHARDS / n) != wanted[n]}
    ]
    if taken:
        left = tuple(store for store in contents.stores if store not in taken)
        Contents(vocabulary=contents.vocabulary, stores=left).write(folder)
    for path in (folder / SHARDS).iterdir():
        if (
            path.name in wanted
            and _identity(path) != wanted[path.name]
            or path.name not in wanted
            and path.name not in listed
        ):
            shutil.rmtree(path)


def _remove_unlisted(folder: Path, contents: Contents) -> None:
    listed = {name for store in contents.stores for name in store.shards}
    for path in (folder / SHARDS).iterdir():
        if path.name not in listed:
            shutil.rmtree(path)


def _identity(path: Path) -> Any:
    try:
        return json.loads((path / "shard.json").read_bytes())["identity"]
    except (OSError, ValueError, KeyError):
        return None


def _described(plan: _Planned, decoded_text: bool, licence: str | None) -> StoreInfo:
    shards = [json.loads((job.path / "shard.json").read_bytes()) for job in plan.jobs]
    from_source = has_source_text(plan.store) and not decoded_text
    files = plan.store.manifest["sources"] if from_source else []
    return StoreInfo(
        subset=plan.subset,
        split=plan.split,
        fingerprint=plan.store.fingerprint,
        documents=len(plan.store),
        tokens=plan.store.num_tokens,
        characters=sum(shard["characters"] for shard in shards),
        text_bytes=sum(shard["text_bytes"] for shard in shards),
        text="source" if from_source else "decoded",
        licence=licence,
        licences=tuple(sorted({name for shard in shards for name in shard["licences"]})),
        files=tuple(Path(source["path"]).name for source in files),
        shards=tuple(job.name for job in plan.jobs),
    )


# The work, in processes of their own.


def _write_all(jobs: Sequence[ShardJob], processes: int) -> None:
    """Writes the shards that are not there yet."""
    left = [job for job in jobs if not job.path.exists()]
    left.sort(key=_tokens, reverse=True)  # the longest first, so that none is left over at the end
    total = sum(_tokens(job) for job in jobs)
    done = total - sum(_tokens(job) for job in left)
    with tqdm(
        total=total, initial=done, unit="token", unit_scale=True, desc="index", disable=not left
    ) as bar:
        if len(left) == 1 or processes == 1:
            for job in left:
                write_shard(job, bar.update)
        elif left:
            _in_processes(left, min(processes, len(left)), bar)


def _in_processes(jobs: Sequence[ShardJob], processes: int, bar: tqdm) -> None:
    context = multiprocessing.get_context("spawn")  # threads of other libraries may run here
    counter = context.Value("q", 0)
    with ProcessPoolExecutor(processes, context, _start_worker, (counter, os.getpid())) as pool:
        waiting: set[Future] = {pool.submit(_work, job) for job in jobs}
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                bar.update(counter.value - (bar.n - bar.initial))
                for future in done:
                    future.result()
        except BaseException:
            counter.value = -1  # the others end at their next report
            pool.shutdown(cancel_futures=True)
            raise


_progress: Callable[[int], None]


def _start_worker(counter: Any, parent: int) -> None:
    global _progress

    def progress(tokens: int) -> None:
        if os.getppid() != parent:
            os._exit(1)  # the command was killed: nobody waits for this any more
        with counter.get_lock():
            if counter.value < 0:
                raise InterruptedError("another shard failed")
            counter.value += tokens

    _progress = progress


def _work(job: ShardJob) -> None:
    write_shard(job, _progress)


def _tokens(job: ShardJob) -> int:
    starts = TokenStore(job.prefix).document_starts
    return int(starts[job.stop]) - int(starts[job.first])


def prefixes_of(
    cache_dir: str | os.PathLike, names: Sequence[str], splits: Sequence[str]
) -> dict[Path, tuple[str, str]]:
    """The stores of Tasks and Mixtures in a cache folder, in these splits, those that there are, with their (Task, split).

    Raises:
      UserError: a name is unknown there, or has none of the splits.
    """
    from llmjp_jax.inputs import open_stores, read_weights

    found: dict[Path, tuple[str, str]] = {}
    for name in names:
        read_weights(cache_dir, name)
        stores = {
            store.prefix: (task, split)
            for split in splits
            for task, store in open_stores(cache_dir, name, split, required=False).items()
        }
        found |= stores
        if not stores:
            raise UserError(
                f"{name} has none of the splits {', '.join(splits)} in {cache_dir}; correct --splits"
            )
    return found
