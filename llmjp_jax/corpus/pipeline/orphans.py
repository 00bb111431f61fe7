"""Importing this makes every process that is forked from here on end when the build has ended, even by kill -9.

For the fork server, from which a build's workers and datatrove's manager come. The manager would otherwise wait for ever when
the build is killed, and hold its output open (seen); and the fork server lives as long as its children.
"""

from __future__ import annotations

import os
import signal
import threading
import time

import multiprocess


def _end_with_the_build() -> None:
    # Known a little after the fork: the process that asked the fork server for this one.
    while (build := multiprocess.parent_process()) is None:
        time.sleep(0.05)
    build.join()
    os.kill(os.getpid(), signal.SIGKILL)


def _watch() -> None:
    threading.Thread(target=_end_with_the_build, daemon=True).start()


os.register_at_fork(after_in_child=_watch)
