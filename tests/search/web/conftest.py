"""A server on an index of ordinary and of hostile documents, with the trace of a run; a client; a browser."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import threading
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import numpy as np
import pytest

from llmjp_jax.corpus import write_documents
from llmjp_jax.files import sha256_file
from llmjp_jax.inputs import Inputs, Source, TokenStore, TokenStoreWriter
from llmjp_jax.inputs.store_writer import PLACE, describe_source
from llmjp_jax.search import CorpusIndex, build_index
from llmjp_jax.search.trace import Trace
from llmjp_jax.search.web import Application, Server
from llmjp_jax.tokenizer import load_vocabulary

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
# What a page must show and never run.
HOSTILE = [
    {"text": "hostile <script>window.hit = 1; alert(1)</script> end", "meta": {"url": "javascript:alert(2)", "id": "<b>id</b>"}},
    {"text": "hostile </mark></blockquote><img src=x onerror='window.hit = 2'> end", "meta": {"url": "https://example.org/a?b=1&c=\"2\""}},
    {"text": "hostile <a href=\"javascript:window.hit=3\">click</a><style>*{display:none}</style>", "meta": {"url": "https://example.org/a", "licence": "\"><script>window.hit = 4</script>"}},
    {"text": "hostile &lt;b&gt; &amp; \" onfocus=window.hit=5 autofocus x=\"", "meta": {"deep": {"a": ["<i>", None]}}},
    {"text": "hostile \u202eright to left\u202c \x1b[31mred\x07 and many more words of an ordinary kind", "meta": {}},
]  # fmt: skip


def write_hostile_store(cache: Path, vocabulary) -> Path:
    """A store CACHE/hostile/train of `HOSTILE`."""
    source = cache.parent / "corpora" / "hostile.jsonl"
    source.parent.mkdir(parents=True, exist_ok=True)
    write_documents(source, HOSTILE)
    (cache / "hostile").mkdir(parents=True)
    writer = TokenStoreWriter(cache / "hostile/train", np.uint16, PLACE)
    offset = 0
    for line, raw in enumerate(source.read_bytes().splitlines(keepends=True), 1):
        ids = [*vocabulary.encode(json.loads(raw)["text"]), vocabulary.eos_id]
        writer.add_documents(np.array(ids, np.int32), np.array([len(ids)]), np.array([(0, line, offset)], PLACE))  # fmt: skip
        offset += len(raw)
    writer.commit({
        "task": "hostile", "split": "train", "documents": writer.documents, "tokens": writer.tokens, "sha256": writer.sha256(),
        "vocabulary": {"path": vocabulary.path, "fingerprint": vocabulary.fingerprint},
        "sources": [describe_source(str(source)) | {"sha256": sha256_file(source)}],
    })  # fmt: skip
    return cache / "hostile/train"


@pytest.fixture(scope="session")
def web_index_folder(tmp_path_factory, small_corpora) -> Path:
    """The folder of an index of the small corpora and the hostile documents; to be read only."""
    folder = tmp_path_factory.mktemp("web")
    hostile = write_hostile_store(folder / "cache", load_vocabulary(small_corpora.vocabulary))
    prefixes = [*small_corpora.prefixes, hostile]
    build_index(folder / "index", prefixes, small_corpora.vocabulary, processes=1)
    return folder / "index"


@pytest.fixture(scope="session")
def index(web_index_folder):
    with CorpusIndex(web_index_folder) as index:
        yield index


@pytest.fixture(scope="session")
def trace(small_corpora, tmp_path_factory) -> Trace:
    """Of a run on ja/train that has made half of its steps, in the third epoch of six."""
    store = TokenStore(small_corpora.cache / "ja/train")
    inputs = Inputs(sources=(Source("ja", 1, store),), sequence_length=32, batch_size=8)
    steps = 6 * store.num_tokens // (32 * 8)
    return Trace(inputs, steps, steps // 2, tmp_path_factory.mktemp("runs") / "small-run")


@contextlib.contextmanager
def serving(application: Application, host: str = "127.0.0.1"):
    """A server in a thread of its own, on any port."""
    with Server(application, host, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="session")
def server(index, trace):
    with serving(Application(index, trace)) as server:
        yield server


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def json(self):
        return json.loads(self.text)


def ask(server: Server, path: str = "/", method: str = "GET", body=None, headers=None, **fields) -> Answer:  # fmt: skip
    """What a plain client gets. `fields`: of the query, or with POST of the form; a list is several."""
    encoded = urlencode(fields, doseq=True)
    headers = dict(headers or {})
    if method == "POST" and body is None:
        body, headers = encoded, FORM | headers
    elif encoded:
        path += f"?{encoded}"
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=30)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read().decode())


@pytest.fixture(scope="session")
def chromium():
    """Chromium, without a window."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)  # fmt: skip
    if path is None:
        pytest.skip("there is no Chromium on this machine")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
