"""Processes that take steps together agree on the one after which all stop, whoever is asked and when."""

import signal
import threading
import time

import jax
import pytest

from llmjp_jax.training import stop
from llmjp_jax.training.stop import StopRequest, _Agreement


class Store:
    """The key-value store of `jax.distributed`, of one process for its threads."""

    def __init__(self):
        self.values: dict[str, str] = {}
        self.changed = threading.Condition()

    def key_value_set(self, key, value):
        with self.changed:
            if key in self.values:
                raise jax.errors.JaxRuntimeError("ALREADY_EXISTS")
            self.values[key] = value
            self.changed.notify_all()

    def key_value_try_get(self, key):
        with self.changed:
            if key not in self.values:
                raise jax.errors.JaxRuntimeError("NOT_FOUND")
            return self.values[key]

    def blocking_key_value_get(self, key, milliseconds):
        with self.changed:
            if not self.changed.wait_for(lambda: key in self.values, milliseconds / 1000):
                raise jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED")
            return self.values[key]


class Run:
    """Some processes, each a thread: a step begins when all have begun the one before the last, as devices allow."""

    def __init__(self, monkeypatch, count: int, begun: int = 0, total: int = 10_000):
        monkeypatch.setattr(stop, "_runs", iter([7] * count))
        store = Store()
        self.parts = [_Agreement(store, index, count, begun) for index in range(count)]
        self.total, self.step = total, [begun] * count
        self.stopped: list[tuple[int, str] | None] = [None] * count
        self.ready = threading.Condition()
        self.held = False
        self.threads = [threading.Thread(target=self._go, args=[i]) for i in range(count)]

    def _go(self, index: int) -> None:
        part = self.parts[index]
        while self.step[index] < self.total:
            with self.ready:
                ahead = lambda: self.step[index] <= min(self.step) + 1 and not self.held  # noqa: E731
                assert self.ready.wait_for(ahead, 30), "the others do not come"
                self.step[index] += 1
                self.ready.notify_all()
            time.sleep(0.001 * (index + 1))
            signal_ = part.reached(self.step[index])
            if signal_:
                self.stopped[index] = (self.step[index], signal_)
                break
        part.close()

    def start(self, hold: bool = False) -> None:
        self.held = hold
        for part in self.parts:
            part.open()
        for thread in self.threads:
            thread.start()

    def release(self) -> None:
        with self.ready:
            self.held = False
            self.ready.notify_all()

    def end(self) -> None:
        for thread in self.threads:
            thread.join(timeout=60)
            assert not thread.is_alive()


@pytest.mark.parametrize("asked", [[0], [2], [0, 2]])
def test_all_stop_after_one_step_whoever_is_asked(asked, monkeypatch):
    run = Run(monkeypatch, 3)
    run.start()
    time.sleep(0.1)
    for index in asked:
        run.parts[index].request("SIGTERM")
    run.end()
    assert len(set(run.stopped)) == 1 and run.stopped[0][1] == "SIGTERM"
    assert run.stopped[0][0] < run.total


def test_a_signal_before_the_first_step_of_a_continued_run_is_not_forgotten(monkeypatch):
    run = Run(monkeypatch, 2, begun=50)
    run.start(hold=True)
    run.parts[1].request("SIGINT")
    time.sleep(2.5)  # both have agreed by now
    run.release()
    run.end()
    assert run.stopped == [(51, "SIGINT")] * 2


def test_a_signal_in_the_last_steps_holds_nobody_up(monkeypatch):
    run = Run(monkeypatch, 2, total=20)
    run.start()
    time.sleep(0.02)
    run.parts[0].request("SIGTERM")
    began = time.monotonic()
    run.end()
    assert time.monotonic() - began < 10
    assert run.stopped[0] == run.stopped[1]


def test_a_process_that_does_not_answer_is_named_and_the_run_goes_on(monkeypatch, capsys):
    monkeypatch.setattr(stop, "_PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(stop, "_runs", iter([7]))
    part = _Agreement(Store(), 0, 2, 0)
    part.open()
    part.request("SIGTERM")
    time.sleep(0.5)
    assert part.reached(1) is None
    part.close()
    assert "SIGTERM cannot stop the run, a process does not answer" in capsys.readouterr().err


def test_a_run_of_one_stops_after_the_step_in_which_the_signal_came():
    with StopRequest() as request:
        assert not request.after(1)
        signal.raise_signal(signal.SIGTERM)
        assert request.after(2) and request.received == "SIGTERM"
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "a second one ends the process"
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_outside_the_main_thread_signals_are_left_to_others():
    done = []

    def body():
        with StopRequest() as request:
            done.append(request.after(1))

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert done == [False]
