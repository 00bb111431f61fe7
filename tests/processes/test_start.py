"""From flags to JAX's own start: what it is given, and what is left to it."""

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.processes import check_flags, connect, start
from llmjp_jax.processes.place import Place

NONE = dict.fromkeys(("hosts", "coordinator_address", "process_count", "process_index"))
NONE |= {"initialization_timeout": None}


@pytest.fixture
def joined(monkeypatch):
    """The arguments that JAX is given and the places that met, in place of both."""
    calls = {"jax": [], "met": []}
    monkeypatch.setattr(
        "jax.distributed.initialize", lambda *a, **options: calls["jax"].append((a, options))
    )
    monkeypatch.setattr(start, "meet", lambda place, *rest: calls["met"].append((place, rest[0])))
    return calls


def test_a_run_without_flags_is_a_run_of_one(joined):
    connect(**NONE)
    assert joined == {"jax": [], "met": []}


def test_all_meet_before_jax_starts_on_the_same_port(joined):
    connect(**NONE | {"coordinator_address": "[::1]:80", "process_count": 4, "process_index": 3})
    [(place, timeout)], [(arguments, options)] = joined["met"], joined["jax"]
    assert (place.host, place.port, place.count, place.index, timeout) == ("::1", 80, 4, 3, 300)
    assert arguments == ("[::1]:80", 4, 3)
    # Under Slurm or MPI, JAX alone would take one GPU where the process is to have all.
    assert options["cluster_detection_method"] == "deactivate"
    assert options["local_device_ids"] is None
    assert 290 < options["initialization_timeout"] <= 300


def test_a_list_of_hosts_says_where_how_many_and_which(joined):
    connect(**NONE | {"hosts": "node1:80,127.0.0.1,node3", "initialization_timeout": 70})
    [(place, timeout)] = joined["met"]
    assert (place.address, place.count, place.index, timeout) == ("node1:80", 3, 1, 70)


def test_a_cluster_says_which_devices_are_the_process_s_own(joined, monkeypatch):
    found = Place("n1", 90, 2, 1, "", local_device_ids=(4, 5))
    monkeypatch.setattr(start, "detect", lambda timeout: found)
    connect(**NONE | {"coordinator_address": "auto"})
    assert joined["jax"][0][1]["local_device_ids"] == (4, 5)


def test_where_only_jax_knows_the_cluster_it_is_asked_and_that_is_said(joined, monkeypatch, capsys):
    monkeypatch.setattr(start, "detect", lambda timeout: None)
    connect(**NONE | {"coordinator_address": "auto", "initialization_timeout": 7})
    assert joined == {"jax": [((), {"initialization_timeout": 7})], "met": []}
    assert "JAX alone knows this cluster" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags, sentence",
    [
        ({"hosts": "a,b", "coordinator_address": "a:1"}, "remove --coordinator_address"),
        ({"hosts": "a,b", "process_count": 2}, "remove --coordinator_address and --process_count"),
        ({"process_index": 1}, "need --coordinator_address=HOST:PORT"),
        ({"coordinator_address": "auto", "process_count": 2}, "need --coordinator_address"),
        ({"coordinator_address": "a"}, "is not of the form HOST:PORT"),
        ({"coordinator_address": "a:1", "process_count": 2}, "needs --process_count and"),
        ({"initialization_timeout": 0}, "seconds from 1"),
    ],
)
def test_flags_that_do_not_fit_each_other_are_one_sentence(flags, sentence):
    with pytest.raises(UserError, match=sentence):
        check_flags(**NONE | flags)
