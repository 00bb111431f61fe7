"""From the launcher's flags to a joined process: which place it has, the wait for the others, and JAX's own start."""

from __future__ import annotations

import sys
import time

from llmjp_jax.errors import UserError
from llmjp_jax.processes.clusters import detect
from llmjp_jax.processes.hosts import host_list, place_in
from llmjp_jax.processes.place import Place, split_address
from llmjp_jax.processes.rendezvous import meet

DEFAULT_TIMEOUT = 300  # seconds, JAX's own
# JAX's own start needs some seconds after the last process has come.
_LEAST_SECONDS = 60


def check_flags(
    *, hosts: str | None, coordinator_address: str | None, process_count: int | None,
    process_index: int | None, initialization_timeout: int | None = None,
) -> None:  # fmt: skip
    """Refuses flags that do not fit each other, without looking at the machine or the network.

    Raises:
      UserError: they do not.
    """
    if initialization_timeout is not None and initialization_timeout < 1:
        raise UserError(
            f"--initialization_timeout={initialization_timeout} must be a number of seconds from 1"
        )
    if hosts is not None:
        if coordinator_address is not None or process_count is not None:
            raise UserError(
                "--hosts says where and how many the processes are; remove --coordinator_address and --process_count"
            )
        if not hosts.startswith("@"):
            host_list(hosts)
        return
    if coordinator_address is None or coordinator_address == "auto":
        if process_count is not None or process_index is not None:
            raise UserError(
                "--process_count and --process_index need --coordinator_address=HOST:PORT"
            )
        return
    if split_address(coordinator_address)[1] is None:
        raise UserError(f"--coordinator_address={coordinator_address} is not of the form HOST:PORT")
    if process_count is None or process_index is None:
        raise UserError("--coordinator_address=HOST:PORT needs --process_count and --process_index")
    if not 0 <= process_index < process_count:
        raise UserError(
            f"--process_index={process_index} must be from 0 to {process_count - 1}, as --process_count is "
            f"{process_count}"
        )


def connect(
    *, hosts: str | None, coordinator_address: str | None, process_count: int | None,
    process_index: int | None, initialization_timeout: int | None = None,
) -> None:  # fmt: skip
    """Joins all processes of the run in JAX, saying on the way how many have come; nothing for a run of one.

    Args: the launcher's flags, as `check_flags` let them through.

    Raises:
      UserError: the others do not come in time, or say something else about the run; there is no cluster.
    """
    timeout = initialization_timeout or DEFAULT_TIMEOUT
    if hosts is not None:
        place = place_in(hosts, process_index)
    elif coordinator_address is None:
        return
    elif coordinator_address == "auto":
        place = detect(timeout)
    else:
        host, port = split_address(coordinator_address)
        setting = "the port in --coordinator_address=HOST:PORT"
        place = Place(host, port, process_count, process_index, setting)
    if place is None:
        say(
            f"JAX alone knows this cluster, and does not say how many processes have come; it waits up to "
            f"{timeout} s"
        )
        _initialize(initialization_timeout=timeout)
        return
    deadline = time.monotonic() + timeout
    meet(place, timeout, say)
    left = max(_LEAST_SECONDS, int(deadline - time.monotonic()))
    # JAX would otherwise look for a cluster to choose local devices by, and find one GPU for each process.
    _initialize(
        place.address, place.count, place.index, initialization_timeout=left,
        local_device_ids=place.local_device_ids, cluster_detection_method="deactivate",
    )  # fmt: skip


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _initialize(*arguments, **options) -> None:
    import jax

    # It would take SIGTERM for itself; the training loop has its own way to stop all processes.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(*arguments, **options)
