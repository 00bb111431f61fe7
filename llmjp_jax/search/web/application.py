"""From a request to its answer: which page it is, and who may search at a time. Nothing here reads a file or a socket."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from llmjp_jax.errors import UserError
from llmjp_jax.search.attribution import Attribution, attribute
from llmjp_jax.search.corpus_index import CorpusIndex
from llmjp_jax.search.web import api
from llmjp_jax.search.web.attribution_page import attribution_page
from llmjp_jax.search.web.document_page import document_page
from llmjp_jax.search.web.layout import STYLE_NAME, STYLES, refusal_page
from llmjp_jax.search.web.places import places_of
from llmjp_jax.search.web.question import (
    MODES,
    Question,
    ask,
    check_length,
    check_whole,
    read_document_id,
    read_question,
)
from llmjp_jax.search.web.request import Refusal, Request
from llmjp_jax.search.web.response import Response, html_response, json_response
from llmjp_jax.search.web.results_page import front_page, results_page

if TYPE_CHECKING:
    from llmjp_jax.search.dense import DenseIndex
    from llmjp_jax.search.trace import Trace

# At work at a time: a search keeps a core busy, and more of them only take turns. An attribution is many searches.
SEARCHES, ATTRIBUTIONS = 8, 2
WAIT_SECONDS = 20.0  # until it is somebody's turn
ATTRIBUTION_SECONDS = 60.0
_HEADINGS = {404: "Not found", 413: "Too long", 414: "Too long", 500: "A defect", 503: "Busy"}


class Application:
    """The pages of an index; several threads may ask at once.

    Args:
      trace: of a run, to say when documents are seen. near: the index's dense part, to search by meaning.
      attribution_seconds: after which an attribution is given up.
    """

    def __init__(
        self,
        index: CorpusIndex,
        trace: Trace | None = None,
        near: DenseIndex | None = None,
        attribution_seconds: float = ATTRIBUTION_SECONDS,
    ):
        self.index, self.trace, self.near = index, trace, near
        self.modes = tuple(mode for mode in MODES if near is not None or mode != "near")
        self._attribution_seconds = attribution_seconds
        self._searches = threading.BoundedSemaphore(SEARCHES)
        self._attributions = threading.BoundedSemaphore(ATTRIBUTIONS)

    def answer(self, request: Request) -> Response:
        """The answer to a request; never an exception."""
        path = "/".join(("", *request.path))
        try:
            return self._route(request)
        except Refusal as refusal:
            return self.refused(refusal, path)
        except UserError as error:
            # The folder of the index is nothing for a client.
            folder = str(self.index.folder)
            sentence = str(error).replace(f"index {folder}", "index").replace(folder, "the index")
            return self.refused(Refusal(400, f"{sentence[:1].upper()}{sentence[1:]}."), path)
        except Exception:
            print(f"search: no answer to {request.method} {path[:200]!r}", file=sys.stderr)
            traceback.print_exc()
            defect = Refusal(500, "The server made a mistake; its terminal says which.")
            return self.refused(defect, path)

    def refused(self, refusal: Refusal, path: str) -> Response:
        """A page, or for programs an object, with the sentence of a refusal."""
        more = {"allow": ", ".join(refusal.allow) or None, "retry": refusal.retry}
        if path.startswith("/api/"):
            return json_response({"error": refusal.sentence}, refusal.status, **more)
        heading = _HEADINGS.get(refusal.status, "This cannot be answered")
        return html_response(refusal_page(heading, refusal.sentence), refusal.status, **more)

    # Which page it is.

    def _route(self, request: Request) -> Response:
        posted = request.method == "POST"
        match request.path:
            case () if not posted:
                return html_response(self._search(request))
            case ("attribute",):
                return html_response(self._attribute(request))
            case ("document", *parts) if not posted:
                return html_response(self._document(request, parts))
            case (name,) if name == STYLE_NAME and not posted:
                keep = "public, max-age=31536000, immutable"
                return Response(
                    content_type="text/css; charset=utf-8", body=STYLES.encode(), cache=keep
                )
            case ("api", "stores") if not posted:
                return json_response(api.stores_content(self.index))
            case ("api", "search") if not posted:
                return json_response(self._api_search(request))
            case ("api", "document", *parts) if not posted:
                document = self.index.document(read_document_id(parts, self.index))
                seen = None if self.trace is None else self.trace.seen(document.id)
                return json_response(api.document_content(document, seen))
            case ("api", "attribute") if posted:
                _, found = self._attributed(request)
                return json_response(api.attribution_content(found))
            case ("api", "attribute"):
                raise Refusal(405, "A text to attribute is sent by POST.", allow=("POST",))
            case () | ("document", *_) | ("api", "stores" | "search") | ("api", "document", *_):
                raise Refusal(405, "Only a text to attribute is sent by POST.", allow=("GET", "HEAD"))  # fmt: skip
        raise Refusal(404, "There is no such page.")

    def _search(self, request: Request) -> str:
        question = read_question(request, self.index, self.modes)
        question = dataclasses.replace(question, text=question.text.replace("\r\n", "\n"))
        if not question.text:
            return front_page(self.index, question, self.modes)
        with self._turn(self._searches):
            results = ask(question, self.index, self.near)
            by_store = results.by_store
            if question.mode != "near" and (question.subsets or question.splits):
                # For the counts beside the filters.
                everywhere = Question(text=question.text, mode=question.mode, limit=0)
                by_store = ask(everywhere, self.index, None).by_store
            texts = []
            if question.mode == "ranked":
                texts = [self.index.document(hit.document).text for hit in results.hits]
            return results_page(question, results, by_store, self.modes, texts)

    def _api_search(self, request: Request) -> dict[str, Any]:
        question = read_question(request, self.index, self.modes)
        with self._turn(self._searches):
            return api.results_content(ask(question, self.index, self.near))

    def _document(self, request: Request, parts: list[str]) -> str:
        id = read_document_id(parts, self.index)
        question = read_question(request, self.index, self.modes)
        part = request.field("part")
        with self._turn(self._searches):
            document = self.index.document(id)
            text, spans = document.text, []
            if question.text:
                text, spans = places_of(question, document, self.index)
            seen = [] if self.trace is None else self.trace.seen(id)
        return document_page(
            document,
            self.index.stores[id.subset, id.split].documents,
            question,
            text,
            spans,
            int(part) if part.isascii() and part.isdecimal() and 0 < len(part) < 10 else None,
            self.trace,
            seen,
        )

    def _attribute(self, request: Request) -> str:
        if request.method == "POST":
            return attribution_page(self.index, *self._attributed(request))
        return attribution_page(self.index, read_question(request, self.index, self.modes), None)

    def _attributed(self, request: Request) -> tuple[Question, Attribution]:
        # Forms send each line end as two characters.
        text = request.field("text").replace("\r\n", "\n")
        check_length(text, "text")
        check_whole(text)
        question = dataclasses.replace(read_question(request, self.index, self.modes), text=text)
        with self._turn(self._attributions):
            index = _Until(self.index, self._attribution_seconds)
            found = attribute(text, index, trace=self.trace, where=question.where, progress=False)
        return question, found

    @staticmethod
    @contextlib.contextmanager
    def _turn(places: threading.BoundedSemaphore) -> Iterator[None]:
        """Waits until fewer are at work than may be."""
        if not places.acquire(timeout=WAIT_SECONDS):
            raise Refusal(503, "Too many ask at the moment; try again soon.", retry=10)
        try:
            yield
        finally:
            places.release()


class _Until:
    """An index that after some seconds gives no answers any more, but a refusal."""

    def __init__(self, index: CorpusIndex, seconds: float):
        self._index, self._seconds, self._end = index, seconds, time.monotonic() + seconds

    def __getattr__(self, name: str) -> Any:
        if time.monotonic() > self._end:
            raise Refusal(
                503, f"It took more than {self._seconds:.0f} seconds; give a shorter text."
            )
        return getattr(self._index, name)
