"""Listens, and gives each connection a thread. Reading a connection is `connection`, answering `application`."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import socketserver
import sys
import threading
import traceback
from http.server import ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from llmjp_jax.errors import UserError
from llmjp_jax.search.corpus_index import CorpusIndex
from llmjp_jax.search.web.application import Application
from llmjp_jax.search.web.connection import Connection
from llmjp_jax.search.web.workers import sharing

if TYPE_CHECKING:
    from llmjp_jax.search.dense import DenseIndex
    from llmjp_jax.search.trace import Trace

CONNECTIONS = 128  # at a time; one more is told to come again
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 34\r\nRetry-After: 5\r\nConnection: close\r\n\r\nToo many connections; come again.\n"


class Server(ThreadingHTTPServer):
    """Answers HTTP with an application.

    Args:
      host: an address of this machine, or a name of one. port: 0: any that is free.

    Attributes:
      url: where it is found. only_loopback: whether it listens on the loopback interface, which no other machine reaches.

    Raises:
      UserError: the address is not one of this machine, or the port is in use or not allowed.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, application: Application, host: str, port: int):
        self.application = application
        self.address_family, address = _resolve(host, port)
        self._places = threading.BoundedSemaphore(CONNECTIONS)
        try:
            super().__init__(address, Connection)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise UserError(f"cannot listen on port {port} of {host}: {reason}; choose another with --port, or --port=0 for one that is free") from None  # fmt: skip
        self.only_loopback = ipaddress.ip_address(self.server_address[0]).is_loopback

    @property
    def url(self) -> str:
        address = ipaddress.ip_address(self.server_address[0])
        name = socket.gethostname() if address.is_unspecified else str(address)
        return f"http://{f'[{name}]' if ':' in name else name}:{self.server_address[1]}/"

    def server_bind(self) -> None:
        """Without http.server's look-up of the host's full name, which takes long where no name server answers."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            with contextlib.suppress(OSError):
                request.settimeout(1)
                request.sendall(_FULL)
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is nothing to speak of; a defect of ours is."""
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()


def serve(
    index: CorpusIndex,
    host: str = "127.0.0.1",
    port: int = 8000,
    trace: Trace | None = None,
    processes: int | None = None,
) -> None:
    """Serves the page until Ctrl-C, and prints its address. From other machines it is reachable only with a `host` of that kind.

    Args:
      port: 0: any that is free.
      trace: of a run (`llmjp_jax.search.trace.Trace`), to say at which steps a document is seen.
      processes: that answer; default as many as there are cores, at most 8.

    Raises:
      UserError: see `Server`; or the trace is of a run on other stores.
    """
    processes = min(os.cpu_count() or 1, 8) if processes is None else processes
    if processes < 1:
        raise UserError(f"--processes={processes} must be at least 1")
    if trace is not None:
        trace.check_stores(index.stores)

    def application() -> Application:
        own = CorpusIndex(index.folder)
        return Application(own, trace, nearest_of(own))

    with Server(Application(index, trace, nearest_of(index)), host, port) as server:
        if not server.only_loopback:
            print(
                "warning: whoever reaches this machine can read the whole corpus here; there is no password and no encryption",
                file=sys.stderr, flush=True,
            )  # fmt: skip
        with contextlib.suppress(KeyboardInterrupt), sharing(server, processes - 1, application):
            print(f"Search {index.folder} at {server.url} (Ctrl-C ends it)", flush=True)
            server.serve_forever()


def nearest_of(index: CorpusIndex) -> DenseIndex | None:
    """The index's dense part, if it has one that works here."""
    from llmjp_jax.search.dense.layout import DenseModel

    if DenseModel.read(index.folder) is None:
        return None
    from llmjp_jax.search.dense import DenseIndex

    try:
        return DenseIndex(index)
    except UserError as error:
        print(f"warning: no search by meaning: {error}", file=sys.stderr, flush=True)
        return None


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple]:
    if not host:
        raise UserError("--host is empty; write 127.0.0.1, or an address of this machine")
    if not 0 <= port < 1 << 16:
        raise UserError(f"--port={port} is no port; choose one of 1 to 65535, or 0 for any")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise UserError(f"--host={host} is no address of this machine; write 127.0.0.1 or another of its own") from None  # fmt: skip
    return family, address
