"""A request is taken apart strictly: nothing of it becomes a path, and other sites are known by their headers."""

from __future__ import annotations

import pytest

from llmjp_jax.search.results import DocumentId
from llmjp_jax.search.web.layout import link_to_document
from llmjp_jax.search.web.request import Refusal, check_host, check_sender, parse_target


@pytest.mark.parametrize(
    ("target", "path", "fields"),
    [
        ("/", (), {}),
        ("/?q=%E7%8C%AB+x%2By&q=2", (), {"q": ("猫 x+y", "2")}),
        ("/document/ja/train/1#x", ("document", "ja", "train", "1"), {}),
        ("/document/%2e%2e%2fetc/passwd", ("document", "../etc", "passwd"), {}),
        ("/a//b/", ("a", "", "b", ""), {}),
        ("/?q=&mode", (), {"q": ("",), "mode": ("",)}),
        ("/?q=a%00b;c", (), {"q": ("a\x00b;c",)}),
    ],
)
def test_an_address_becomes_parts_and_fields(target, path, fields):
    assert parse_target(target) == (path, fields)


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1/",
        "*",
        "",
        "etc/passwd",
        "/%ff",
        "/%c0%ae%c0%ae/",
        "/?q=%ff",
        "/?q=%E7%8C",
        "/?" + "a&" * 300,
        "/?%ed%a0%80=1",
    ],
)
def test_an_address_of_another_form_is_refused(target):
    with pytest.raises(Refusal) as refusal:
        parse_target(target)
    assert refusal.value.status == 400


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:8000", "[::1]:80", "127.0.0.2"])  # fmt: skip
def test_names_of_loopback_are_ours(host):
    assert check_host([host], only_loopback=True) == host.lower()


@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        (["evil.example"], 421),
        (["127.0.0.1.evil.example"], 421),
        (["localhost.evil.example:8000"], 421),
        (["192.168.1.2"], 421),
        (["[::2]"], 421),
        (["user@localhost"], 400),
        (["localhost/x"], 400),
        (["localhost:80:80"], 400),
        ([""], 400),
        ([], 400),
        (["localhost", "localhost"], 400),
    ],
)
def test_another_host_is_refused_on_loopback(hosts, status):
    with pytest.raises(Refusal) as refusal:
        check_host(hosts, only_loopback=True)
    assert refusal.value.status == status


def test_any_host_is_fine_where_other_machines_were_let_in():
    assert check_host(["corpus.example:8000"], only_loopback=False) == "corpus.example:8000"


@pytest.mark.parametrize(
    ("method", "origins", "sites", "modes", "allowed"),
    [
        ("POST", [], [], [], True),
        ("POST", ["http://localhost:8000"], ["same-origin"], ["navigate"], True),
        ("POST", ["http://localhost:8001"], [], [], False),
        ("POST", ["https://evil.example"], [], [], False),
        ("POST", ["null"], [], [], False),
        ("POST", [], ["cross-site"], ["navigate"], False),
        ("POST", [], ["same-site"], ["navigate"], False),
        ("GET", [], ["none"], ["navigate"], True),
        ("GET", [], ["cross-site"], ["navigate"], True),
        ("GET", [], ["cross-site"], ["no-cors"], False),
        ("GET", [], ["same-site"], ["cors"], False),
        ("GET", [], ["same-origin"], ["no-cors"], True),
    ],
)
def test_what_another_site_sends_is_refused(method, origins, sites, modes, allowed):
    if allowed:
        check_sender(method, "localhost:8000", origins, sites, modes)
        return
    with pytest.raises(Refusal) as refusal:
        check_sender(method, "localhost:8000", origins, sites, modes)
    assert refusal.value.status == 403


@pytest.mark.parametrize("subset", ["ja", "cc/2013", "日本語", "a%2Fb", "q?#"])
def test_the_address_of_a_document_leads_back_to_it(subset):
    path, fields = parse_target(link_to_document(DocumentId(subset, "train", 7), "q=a", "match-1"))
    assert (path, fields) == (("document", subset, "train", "7"), {"q": ("a",)})
