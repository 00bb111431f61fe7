"""Several processes that answer on one socket: the threads of one Python process take turns, those of several do not."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmjp_jax.search.web.application import Application
    from llmjp_jax.search.web.server import Server


@contextlib.contextmanager
def sharing(server: Server, workers: int, application: Callable[[], Application]) -> Iterator[None]:
    """Lets further processes take connections of a server too, while the body does.

    They end with the body, and also when this process is killed: each waits for the end of a pipe that this process alone
    keeps open.

    Args:
      server: that listens, and has served nothing yet.
      workers: how many processes beside this one.
      application: makes each its own application; what this process has open is not used there.
    """
    server.socket.setblocking(False)  # all of them are woken by a connection, and only one gets it
    ours, parents = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    children = []
    for _ in range(workers):
        child = os.fork()
        if not child:
            os.close(parents)
            _work(server, ours, application)
        children.append(child)
    os.close(ours)
    try:
        yield
    finally:
        os.close(parents)
        for child in children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)


def _work(server: Server, parents_pipe: int, application: Callable[[], Application]) -> None:
    """Serves until the parent is gone; never returns."""
    status = 1
    try:
        signal.signal(
            signal.SIGINT, signal.SIG_IGN
        )  # Ctrl-C reaches all: the parent ends, and with it this process
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        threading.Thread(target=_end_with, args=(parents_pipe,), daemon=True).start()
        server.application = application()
        server.serve_forever()
        status = 0
    except BaseException as error:
        print(f"a process of the server ended: {error!r}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def _end_with(parents_pipe: int) -> None:
    os.read(parents_pipe, 1)  # nothing is ever written: this returns when the other end is closed
    os._exit(0)
