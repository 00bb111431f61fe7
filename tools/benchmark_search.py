"""The search benchmark: the time of indexing, the size of the index, and how long queries wait when several clients ask.

The server is `tools/search_corpus.py serve` in a process of its own, the clients are threads of this one that ask it over HTTP, each
one query after another. Queries are cut from documents of the index, changed, or put together across documents: so that some are
found and some are not. The peer looks at everything: Python's `bytes.find` over the text in memory.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import http.client
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
from tqdm import tqdm

from llmjp_jax.errors import UserError
from llmjp_jax.files import git_commit, repository_root
from llmjp_jax.search import CorpusIndex, DocumentId, IndexedDocument
from llmjp_jax.search.folder import size_of
from tools.benchmark_machine import machine, versions

_SAMPLED = 300  # documents of each store that queries are cut from
_LENGTHS = (1, 2, 3, 5, 8, 13, 20, 40)  # characters of a query
_SCANNED = 50  # queries that the peer answers too
_WARM_UP = 50


def measure_search(options: argparse.Namespace) -> dict[str, Any]:
    """Queries of an index that is there.

    Returns:
      For each number of clients: queries a second, and milliseconds of all queries and of each mode at the median, the 99th percentile
      and the most.
    """
    with CorpusIndex(options.index) as index:
        return _head("search", options) | _described(index) | _asked(index, options)


def measure_search_growth(options: argparse.Namespace) -> dict[str, Any]:
    """Indexes of growing numbers of documents: sentences drawn from the index `options.index`, two to a document."""
    report = _head("search_growth", options) | {"rows": []}
    with CorpusIndex(options.index) as source:
        sentences = _sentences(source)
        vocabulary = source.folder / "tokenizer"
    for count in options.documents:
        with tempfile.TemporaryDirectory(prefix="search_growth") as folder:
            store = _write_store(Path(folder), sentences, count, vocabulary)
            row = {"documents": count} | _indexed(Path(folder), store, vocabulary)
            with CorpusIndex(Path(folder) / "index") as index:
                report["rows"].append(row | _described(index) | _asked(index, options))
    return report


def _head(name: str, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "benchmark": name,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": options.commit or git_commit(),
        "machine": machine(len(os.sched_getaffinity(0))),
        "versions": versions("tantivy", "numpy"),
    }


def _described(index: CorpusIndex) -> dict[str, Any]:
    stores = index.stores.values()
    text = sum(store.text_bytes for store in stores)
    size = size_of(index.folder)
    return {
        "index": {
            "documents": sum(store.documents for store in stores),
            "tokens": sum(store.tokens for store in stores),
            "text_megabytes": text / 1e6,
            "megabytes": size / 1e6,
            "times_its_text": size / text,
        }
    }


# Queries.


def _queries(index: CorpusIndex, count: int) -> list[tuple[str, str]]:
    """(mode, query), one third each of exact texts, token ids and ranked texts, the same for the same index."""
    choose, documents = random.Random(0), []
    for (subset, split), store in index.stores.items():
        for _ in range(min(_SAMPLED, store.documents)):
            documents.append(
                index.document(DocumentId(subset, split, choose.randrange(store.documents)))
            )
    makers = {"text": _text_query, "ids": _id_query, "ranked": _ranked_query}
    queries = [(mode, makers[mode](choose, documents)) for _ in range(count) for mode in makers]
    return [query for query in queries if query[1]][:count]


def _text_query(choose: random.Random, documents: Sequence[IndexedDocument]) -> str:
    first, second = choose.choice(documents).text, choose.choice(documents).text
    size, kind = choose.choice(_LENGTHS), choose.random()
    text = first[-size:] + second if kind < 0.1 else first
    start = choose.randrange(max(1, len(text) - size + 1))
    query = text[start : start + size]
    return query[:-1] + "猫" if kind > 0.8 else query


def _id_query(choose: random.Random, documents: Sequence[IndexedDocument]) -> str:
    first, second = (choose.choice(documents).tokens.tolist() for _ in range(2))
    size, kind = choose.randint(1, 12), choose.random()
    ids = first[-size:] + second if kind < 0.1 else first
    start = choose.randrange(max(1, len(ids) - size + 1))
    query = ids[start : start + size]
    if kind > 0.8:
        query[choose.randrange(len(query))] = choose.choice(second)
    return " ".join(map(str, query))


def _ranked_query(choose: random.Random, documents: Sequence[IndexedDocument]) -> str:
    text = choose.choice(documents).text
    start = choose.randrange(max(1, len(text) - 40))
    return text[start : start + choose.choice((10, 20, 40))].strip()


# Asking.


def _asked(index: CorpusIndex, options: argparse.Namespace) -> dict[str, Any]:
    queries = _queries(index, options.queries)
    report: dict[str, Any] = {"queries": len(queries), "clients": {}}
    with _server(index.folder) as port:
        _ask(port, queries[:_WARM_UP])
        for clients in sorted({1, options.clients}):
            start = time.perf_counter()
            with ThreadPoolExecutor(clients) as pool:
                waits = list(
                    pool.map(
                        lambda part: _ask(port, part), [queries[n::clients] for n in range(clients)]
                    )
                )
            seconds = time.perf_counter() - start
            times = [
                (query[0], wait)
                for n in range(clients)
                for query, wait in zip(queries[n::clients], waits[n], strict=True)
            ]
            modes = {
                mode: _figures([wait for of, wait in times if of == mode])
                for mode in dict.fromkeys(of for of, _ in times)
            }
            report["clients"][clients] = {
                "queries_a_second": len(queries) / seconds,
                **_figures([wait for _, wait in times]),
                "modes": modes,
            }
    if not options.no_peer:
        report["peer"] = _scanned(
            index, [query for mode, query in queries if mode == "text"][:_SCANNED]
        )
    return report


def _ask(port: int, queries: Sequence[tuple[str, str]]) -> list[float]:
    """The seconds that each query waits for its answer, on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    waits = []
    for mode, query in queries:
        start = time.perf_counter()
        connection.request("GET", "/api/search?" + urlencode({"q": query, "mode": mode}))
        answer = connection.getresponse()
        body = answer.read()
        waits.append(time.perf_counter() - start)
        if answer.status != 200:
            raise RuntimeError(
                f"{mode} {query!r} was answered with {answer.status}: {body[:200]!r}"
            )
    connection.close()
    return waits


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[int]:
    """A server of the index in a process of its own; its port."""
    command = [
        sys.executable,
        "tools/search_corpus.py",
        "serve",
        f"--index={folder.absolute()}",
        "--port=0",
    ]
    process = subprocess.Popen(command, cwd=repository_root(), stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        address = re.search(r"http://[^ ]+:(\d+)/", line)
        if not address:
            raise RuntimeError(f"the server printed {line!r} and not its address")
        yield int(address[1])
    finally:
        process.terminate()
        process.wait()


def _figures(seconds: Sequence[float]) -> dict[str, float]:
    waits = 1000 * np.array(seconds)
    return {
        "median_ms": float(np.median(waits)),
        "p99_ms": float(np.percentile(waits, 99)),
        "most_ms": float(waits.max()),
    }


def _scanned(index: CorpusIndex, queries: Sequence[str]) -> dict[str, Any]:
    """How long a look at all of the text takes for exact texts."""
    texts = [bytes(shard.text.units) for _, shard in index.chosen()]
    seconds = []
    for query in queries:
        needle, start = query.encode(), time.perf_counter()
        for text in texts:
            place = text.find(needle)
            while place >= 0:
                place = text.find(needle, place + 1)
        seconds.append(time.perf_counter() - start)
    return {
        "name": "bytes.find over the text in memory",
        "queries": len(seconds),
        **_figures(seconds),
    }


# Growing corpora.


def _sentences(index: CorpusIndex) -> list[str]:
    """The short documents of an index: of its sentences larger corpora are made."""
    found = [
        shard.document_text(row)
        for _, shard in index.chosen()
        for row in np.flatnonzero(np.diff(shard.text.starts) < 400).tolist()
    ]
    if len(found) < 10_000:
        raise UserError(
            f"{index.folder} has {len(found):,} documents of one sentence; give the quick start's index"
        )
    return found


def _write_store(folder: Path, sentences: Sequence[str], count: int, vocabulary: Path) -> Path:
    """A token store of `count` documents of two sentences each, by tools/cache_tasks.py."""
    choose = random.Random(count)
    with (folder / "grown.jsonl").open("w", encoding="utf-8") as file:
        for _ in tqdm(range(count), desc="text", unit="document", unit_scale=True, leave=False):
            file.write(
                json.dumps(
                    {"text": choose.choice(sentences) + choose.choice(sentences)},
                    ensure_ascii=False,
                )
                + "\n"
            )
    command = [
        sys.executable, "tools/cache_tasks.py", f"--jsonl=grown={folder}/grown.jsonl", f"--vocabulary={vocabulary.absolute()}",
        f"--cache_dir={folder}/cache",
    ]  # fmt: skip
    subprocess.run(command, cwd=repository_root(), check=True, stdout=subprocess.DEVNULL)
    return folder / "cache" / "grown" / "train"


def _indexed(folder: Path, store: Path, vocabulary: Path) -> dict[str, float]:
    """The seconds of tools/search_corpus.py index and the memory of its largest process."""
    command = [
        sys.executable, "tools/search_corpus.py", "index", f"--index={folder}/index", f"--store={store}",
        f"--vocabulary={vocabulary.absolute()}",
    ]  # fmt: skip
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=repository_root(), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{' '.join(command)} ended with status {status}")
    return {
        "index_seconds": time.perf_counter() - start,
        "peak_memory_megabytes": usage.ru_maxrss * 1024 / 1e6,
    }
