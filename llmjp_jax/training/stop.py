"""Ctrl-C and SIGTERM during training: all processes stop after the same step, wherever the signal came.

Several processes must take the same steps: one that left earlier would leave the others waiting for it. They agree
through the key-value store of `jax.distributed`, in a thread each, and no step waits for it: whoever gets a signal
says so; then each says how many steps it has taken, and takes no more until all have said it; all stop after the step
that follows the most that any has taken. JAX has a service of the same kind, `reached_preemption_sync_point`; it
knows no Ctrl-C, forgets a signal that comes before a continued run's first step, and Orbax tells it the steps of old
checkpoints, from one process alone.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import sys
import threading

import jax

_PATIENCE_SECONDS = 60
_runs = itertools.count()  # every process calls `train` equally often


class StopRequest:
    """While it is open, a signal asks the run to stop in place of ending the process; a second one ends it.

    Args:
      taken: steps of the run that were finished before.

    Attributes:
      received: once `after` has said so, the name of the signal that stopped the run.
    """

    def __init__(self, taken: int = 0):
        self.received: str | None = None
        self._signal: str | None = None
        self._handlers: dict = {}
        client = _client() if jax.process_count() > 1 else None
        self._agreement = client and _Agreement(
            client, jax.process_index(), jax.process_count(), taken
        )

    def __enter__(self) -> StopRequest:
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._receive)
        except ValueError:  # not the main thread: whoever started us handles signals
            pass
        if self._agreement:
            self._agreement.open()
        return self

    def __exit__(self, *error) -> None:
        self._let_go()
        if self._agreement:
            self._agreement.close()

    def after(self, step: int) -> bool:
        """Whether the run ends after this step, which must be asked of each step in turn."""
        if self._agreement:
            self.received = self._agreement.reached(step)
        else:
            self.received = self._signal
        return self.received is not None

    def _receive(self, number, frame) -> None:
        self._signal = signal.Signals(number).name
        if self._agreement:
            self._agreement.request(self._signal)
        self._let_go()

    def _let_go(self) -> None:
        # Taken out first: a signal may come in the middle of this.
        handlers, self._handlers = self._handlers, {}
        for number, handler in handlers.items():
            # None: not Python's but a library's, which cannot be set again.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


class _Agreement:
    """One process's part in finding the step after which all stop."""

    def __init__(self, client, index: int, count: int, taken: int):
        self._client, self._index, self._count = client, index, count
        self._prefix = f"llmjp_jax/stop/{next(_runs)}"
        self._lock = threading.Lock()  # held while the number of steps must not change
        self._taken = taken
        self._wanted: str | None = None  # the signal of this process
        self._stop: tuple[int, str] | None = None  # after which step, and the signal
        self._over = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stop", daemon=True)

    def open(self) -> None:
        self._thread.start()

    def request(self, name: str) -> None:
        """Asks all to stop; called by a signal handler, which must not wait for a lock."""
        self._wanted = name
        self._wake.set()

    def reached(self, step: int) -> str | None:
        """The signal, if this is the step after which all stop."""
        with self._lock:
            self._taken = step
            return self._stop[1] if self._stop and self._stop[0] == step else None

    def close(self) -> None:
        """Takes no more steps; whoever still asks need not wait for this process."""
        with self._lock:
            if not self._over:
                self._over = True
                with contextlib.suppress(jax.errors.JaxRuntimeError):  # the others are gone
                    self._say_taken()
        self._wake.set()
        self._thread.join()

    def _watch(self) -> None:
        # All ask process 0's store: the more there are, the less often.
        period = max(1.0, self._count / 64)
        while not self._over:
            self._wake.wait(period)
            self._wake.clear()
            name = self._requested()
            if name is None:
                continue
            with self._lock:
                if not self._over:
                    self._over = True
                    self._agree(name)

    def _requested(self) -> str | None:
        """The signal that a process got, and its index; says the own one first."""
        key = f"{self._prefix}/request"
        if self._wanted and not self._over:
            with contextlib.suppress(jax.errors.JaxRuntimeError):  # another was faster
                self._client.key_value_set(key, self._wanted)
        try:
            return self._client.key_value_try_get(key)
        except jax.errors.JaxRuntimeError:  # nobody
            return None

    def _say_taken(self) -> None:
        self._client.key_value_set(f"{self._prefix}/taken/{self._index}", str(self._taken))

    def _agree(self, name: str) -> None:
        try:
            self._say_taken()
            taken = [
                int(self._client.blocking_key_value_get(f"{self._prefix}/taken/{i}", _PATIENCE_SECONDS * 1000))
                for i in range(self._count)
            ]  # fmt: skip
        except jax.errors.JaxRuntimeError as error:
            print(
                f"{name} cannot stop the run, a process does not answer: {error}", file=sys.stderr
            )
            return
        self._stop = (max(taken) + 1, name)


def _client():
    """The store that the processes share; JAX has no public name for it."""
    from jax._src import distributed

    return distributed.global_state.client
