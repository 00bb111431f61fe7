"""A machine finds its own place in a list of hosts."""

import socket

import pytest

from llmjp_jax.errors import UserError
from llmjp_jax.processes.hosts import DEFAULT_PORT, host_list, is_here, place_in
from llmjp_jax.processes.place import Place, listed, split_address


@pytest.fixture
def named(monkeypatch):
    """Gives this machine a name; no other name leads anywhere."""

    def name(short, full):
        monkeypatch.setattr(socket, "gethostname", lambda: short)
        monkeypatch.setattr(socket, "getfqdn", lambda: full)
        find = socket.getaddrinfo

        def lookup(host, *rest, **options):
            if host in ("127.0.0.1", "::1", "10.0.0.1"):
                return find(host, *rest, **options)
            raise socket.gaierror("no such name")

        monkeypatch.setattr(socket, "getaddrinfo", lookup)

    return name


@pytest.mark.parametrize(
    "text, address",
    [
        ("node1", ("node1", None)),
        ("node1:1234", ("node1", 1234)),
        ("10.0.0.1:80", ("10.0.0.1", 80)),
        ("::1", ("::1", None)),
        ("[::1]", ("::1", None)),
        ("[fe80::1%eth0]:80", ("fe80::1%eth0", 80)),
    ],
)
def test_an_address_is_a_host_and_perhaps_a_port(text, address):
    assert split_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "a b", "a:b", "a:b:1", ":80", "http://a:80", "a:0", "a:70000"]
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(UserError, match="is not an address|ports are numbers"):
        split_address(text)


def test_an_ipv6_address_is_written_in_brackets():
    assert Place("::1", 80, 2, 0, "").address == "[::1]:80"
    assert Place("a", 80, 2, 0, "").address == "a:80"


def test_indices_are_listed_in_ranges():
    assert listed([7, 1, 2, 3, 9, 10]) == "1-3, 7, 9-10"
    assert listed([]) == ""


def test_hosts_come_from_the_flag_or_a_file(tmp_path):
    assert host_list("a:80, b,c") == [("a", 80), ("b", None), ("c", None)]
    (tmp_path / "hosts").write_text("# the cluster\na:80\n\nb  # second\n::1\n")
    assert host_list(f"@{tmp_path / 'hosts'}") == [("a", 80), ("b", None), ("::1", None)]


@pytest.mark.parametrize(
    "value, sentence",
    [
        ("", "names no host"),
        ("a,,b", "has an empty entry"),
        ("a,b:80", "gives b:80 a port; only the first host has one"),
        ("@/nowhere", "--hosts=@/nowhere cannot be read"),
        ("a b,c", "'a b' is not an address"),
    ],
)
def test_a_list_that_is_none_is_one_sentence(value, sentence):
    with pytest.raises(UserError, match=sentence):
        host_list(value)


@pytest.mark.parametrize(
    "short, full",
    [
        ("node2", "node2"),
        ("node2", "node2.cluster.org"),
        ("node2.cluster.org", "x"),
        ("NODE2", "x"),
    ],
)
@pytest.mark.parametrize("entry", ["node2", "node2.cluster.org"])
def test_a_machine_finds_itself_by_its_name(short, full, entry, named):
    named(short, full)
    place = place_in(f"node1:99,{entry},node22", None)
    assert (place.address, place.count, place.index) == ("node1:99", 3, 1)


def test_a_machine_finds_itself_by_its_address(named):
    named("box", "box")
    assert place_in("node1,127.0.0.1,node3", None).index == 1
    assert place_in("::1,10.99.99.99", None).address == f"[::1]:{DEFAULT_PORT}"


def test_a_name_counts_more_than_an_address(named):
    named("box", "box")
    assert place_in("127.0.0.1,box", None).index == 1


def test_a_machine_in_no_entry_or_in_two_is_one_sentence(named):
    named("box", "box")
    with pytest.raises(UserError, match=r"this machine \(box\) is not in --hosts"):
        place_in("node1,node2", None)
    with pytest.raises(
        UserError, match="in --hosts 2 times, as processes 0, 2; add --process_index"
    ):
        place_in("box,node1,box", None)
    assert place_in("box,node1,box", 2).index == 2
    with pytest.raises(UserError, match="--process_index=3 must be from 0 to 2"):
        place_in("box,node1,box", 3)


def test_only_addresses_of_this_machine_are_here():
    assert is_here("127.0.0.1") and is_here("localhost")
    assert not is_here("192.0.2.1"), "an address reserved for documentation"
    assert not is_here("no.such.name.invalid")
