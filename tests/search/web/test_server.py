"""The server against clients that mean no good, are slow, or say too much: plain sockets, without a browser."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from llmjp_jax.search.web import Application, Server, connection
from llmjp_jax.search.web import server as server_module
from tests.search.web.conftest import FORM, ask, serving

HEADERS = {
    "Content-Type", "Content-Length", "Cache-Control", "Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options",
    "Referrer-Policy", "Cross-Origin-Opener-Policy", "Cross-Origin-Resource-Policy",
}  # fmt: skip
REPOSITORY = Path(__file__).resolve().parents[3]


def exchange(server: Server, sent: bytes, seconds: float = 20) -> bytes:
    """What comes back until the server closes."""
    with socket.create_connection(server.server_address[:2], seconds) as client:
        client.sendall(sent)
        received = b""
        while some := client.recv(1 << 16):
            received += some
    return received


def status_of(answer: bytes) -> int:
    return int(answer.split(None, 2)[1])


def test_every_answer_forbids_scripts_and_other_sites(server):
    for path in ("/", "/?q=a", "/nothing", "/api/stores", "/attribute"):
        headers = ask(server, path).headers
        assert set(headers) == HEADERS
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "script-src" not in policy and "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/document/../../etc/passwd",
        "/document/%2e%2e/%2e%2e/etc/passwd",
        "/document/..%2f..%2fetc%2fpasswd",
        "/document/ja/train/..%2f..%2findex.json",
        "/../../../../etc/passwd",
        "//etc/passwd",
        "/..%5c..%5cetc%5cpasswd",
        "/document/ja/train/1%00",
        "/document/%00/train/1",
        "/index.json",
        "/style.css",
        "/shards/ja.train.0000000000/text.bin",
        "/document//etc/passwd/1",
        "/api/document/../../../etc/passwd",
        "/document/ja/train/-1",
        "/document/ja/train/+1",
        "/document/ja/train/１",
        "/document/ja/train/1/2",
        "/document",
    ],
)
def test_no_path_leads_to_a_file(server, path):
    answer = exchange(server, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())  # fmt: skip
    assert status_of(answer) == 404
    assert b"root:" not in answer and b'"format"' not in answer


@pytest.mark.parametrize("path", ["/?q=%ff%fe", "/%ff", "/document/ja/train/%E7%8C", "/?q=%ed%a0%80"])  # fmt: skip
def test_bytes_that_are_no_text_are_refused(server, path):
    answer = ask(server, path)
    assert answer.status == 400 and "not UTF-8" in answer.text


def test_letters_that_were_not_encoded_are_understood(server, index):
    line = (
        "GET /api/search?q=元気 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )
    expected = index.count_text("元気").documents
    assert expected and f'{{"documents":{expected},' in exchange(server, line).decode()


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "192.168.0.9:8000", "", "a b"])  # fmt: skip
def test_a_name_that_was_pointed_here_by_another_site_gets_nothing(server, host):
    answer = ask(server, "/?q=a", headers={"Host": host})
    assert answer.status in (400, 421) and "<mark>" not in answer.text


def test_a_request_without_a_host_or_with_two_is_refused(server):
    for hosts in (b"", b"Host: localhost\r\nHost: localhost\r\n"):
        assert status_of(exchange(server, b"GET / HTTP/1.1\r\n" + hosts + b"\r\n")) == 400


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT", "FOO"])
def test_other_methods_are_refused(server, method):
    answer = ask(server, "/", method)
    assert answer.status == 405 and answer.headers["Allow"] == "GET, HEAD, POST"


def test_only_an_attribution_is_posted(server):
    answer = ask(server, "/", "POST", q="a")
    assert answer.status == 405 and answer.headers["Allow"] == "GET, HEAD"
    assert ask(server, "/api/attribute").headers["Allow"] == "POST"


def test_a_head_is_a_get_without_its_body(server):
    with contextlib.closing(http.client.HTTPConnection(*server.server_address[:2])) as client:
        for _ in range(2):  # on one connection
            client.request("HEAD", "/?q=a")
            answer = client.getresponse()
            assert answer.status == 200 and answer.read() == b""
            assert int(answer.headers["Content-Length"]) > 1000
        client.request("GET", "/api/stores")
        assert client.getresponse().read().startswith(b'{"stores":')


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:1"},
    ],
)
def test_another_site_cannot_post(server, headers):
    assert ask(server, "/attribute", "POST", headers=headers, text="図書館").status == 403


def test_our_own_form_can_post(server):
    origin = server.url.rstrip("/")
    headers = {"Origin": origin, "Sec-Fetch-Site": "same-origin"}
    assert ask(server, "/attribute", "POST", headers=headers, text="図書館").status == 200


def test_another_site_cannot_make_a_reader_search(server):
    hidden = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert ask(server, "/?q=a", headers=hidden).status == 403
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert ask(server, "/?q=a", headers=followed).status == 200


@pytest.mark.parametrize("query", ["a\r\nX-Evil: 1", "\r\n\r\n<html>", "a\nSet-Cookie: b=c"])
def test_no_header_holds_what_a_client_sent(server, query):
    for path in ("/?q=", "/nothing/", "/document/ja/train/"):
        assert set(ask(server, path + quote(query)).headers) <= HEADERS | {"Connection"}


@pytest.mark.parametrize("size", [100_000, 1_000_000])
def test_a_query_that_is_too_long_gets_a_sentence(server, size):
    answer = ask(server, "/?q=" + "a" * size)
    assert answer.status in (413, 414) and "10,000" in answer.text


def test_the_longest_query_is_answered_in_any_script(server):
    assert ask(server, q="猫" * 10_000).status == 200
    assert ask(server, q="𩸽" * 10_000).status == 200
    assert ask(server, q="a" * 10_000).status == 200


@pytest.mark.parametrize("size", [100_000, 10_000_000])
def test_a_form_that_is_too_long_gets_a_sentence(server, size):
    answer = ask(server, "/attribute", "POST", text="a" * size)
    assert answer.status == 413 and "10,000" in answer.text


def test_a_form_that_never_ends_is_answered_too(server):
    head = b"POST /attribute HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\n"
    answer = exchange_half_closed(server, head + b"text=" + b"a" * 1_000_000)
    assert status_of(answer) == 413


def exchange_half_closed(server: Server, sent: bytes) -> bytes:
    with socket.create_connection(server.server_address[:2], 20) as client:
        client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while some := client.recv(1 << 16):
            received += some
    return received


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (["Content-Length: x"], 411),
        (["Content-Length: -1"], 411),
        (["Content-Length: 1", "Content-Length: 2"], 411),
        (["Transfer-Encoding: chunked"], 411),
        (["Content-Length: 5", "Transfer-Encoding: chunked"], 411),
        ([], 411),
        (["Content-Length: 6", "Content-Type: application/json"], 415),
        (["Content-Length: 6", "Content-Type: text/plain"], 415),
    ],
)
def test_a_form_must_say_how_long_and_what_it_is(server, headers, status):
    head = "\r\n".join(["POST /attribute HTTP/1.1", "Host: localhost", *headers])
    answer = exchange_half_closed(server, head.encode() + b"\r\n\r\ntext=a")
    assert status_of(answer) == status and b"Connection: close" in answer
    assert answer.count(b"HTTP/1.1 ") == 1  # the body is no second request


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
        (b"GET / HTTP/x\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello", 400),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\na: " + b"b" * 70_000 + b"\r\n\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
    ],
)
def test_what_is_not_http_gets_a_sentence(server, sent, status):
    answer = exchange_half_closed(server, sent)
    assert status_of(answer) == status and b"Traceback" not in answer and b"<h1>" in answer


def test_a_form_may_ask_first_whether_it_may_come(server):
    head = "POST /api/attribute HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nConnection: close\r\n"
    head += f"Content-Type: {FORM['Content-Type']}\r\nContent-Length: "
    assert exchange(server, f"{head}6\r\n\r\ntext=a".encode()).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")  # fmt: skip
    assert status_of(exchange_half_closed(server, f"{head}99999999\r\n\r\n".encode())) == 413


@pytest.mark.parametrize("begun", [b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_slow_client_is_not_waited_for_however_it_drips(server, monkeypatch, begun):
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.6)
    monkeypatch.setattr(connection, "DRAIN_SECONDS", 0.2)
    start = time.monotonic()
    with socket.create_connection(server.server_address[:2], 10) as client:
        client.sendall(begun)
        client.settimeout(0.1)
        received = b""
        while time.monotonic() - start < 8:
            try:
                if not (some := client.recv(1 << 16)):
                    break
                received += some
            except TimeoutError:
                with contextlib.suppress(OSError):
                    client.sendall(b"a")
            except ConnectionError:
                break
    assert 0.5 < time.monotonic() - start < 5
    assert status_of(received) == 408


def test_a_form_that_does_not_come_is_not_waited_for(server, monkeypatch):
    monkeypatch.setattr(connection, "BODY_SECONDS", 0.3)
    head = f"POST /attribute HTTP/1.1\r\nHost: localhost\r\nContent-Type: {FORM['Content-Type']}\r\nContent-Length: 100\r\n\r\ntext"
    monkeypatch.setattr(connection, "DRAIN_SECONDS", 0.2)
    assert status_of(exchange(server, head.encode())) == 408


def test_a_silent_connection_is_closed(server, monkeypatch):
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.3)
    assert exchange(server, b"") == b""


def test_slow_clients_do_not_keep_others_from_being_answered(server):
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            client = socket.create_connection(server.server_address[:2], 5)
            stack.enter_context(contextlib.closing(client)).sendall(b"GET / HTTP/1.1\r\n")
        assert ask(server, q="a").status == 200


def test_one_connection_too_many_is_told_to_come_again(index, monkeypatch):
    monkeypatch.setattr(server_module, "CONNECTIONS", 3)
    with serving(Application(index)) as server, contextlib.ExitStack() as stack:
        clients = [socket.create_connection(server.server_address[:2], 5) for _ in range(3)]
        for client in clients:
            stack.enter_context(contextlib.closing(client)).sendall(b"GET /")
        time.sleep(0.1)
        answer = exchange(server, b"")
        assert status_of(answer) == 503
        head, body = answer.split(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}\r\n".encode() in head
        for client in clients:
            client.close()
        time.sleep(0.2)
        assert ask(server).status == 200


def test_eight_clients_get_each_their_own_answer(server, index, small_corpora):
    choose = random.Random(0)
    texts = [text for text in small_corpora.texts["ja", "train"] if len(text) > 6]
    queries = [choose.choice(texts)[1 : choose.randint(2, 6)] for _ in range(160)]
    expected = {query: tuple(index.count_text(query)) for query in queries}
    wrong = []

    def client(own):
        with contextlib.closing(http.client.HTTPConnection(*server.server_address[:2])) as one:
            for number, query in enumerate(own):
                one.request("GET", f"{'/api/search' if number % 2 else '/'}?q={quote(query)}")
                text = one.getresponse().read().decode()
                documents, occurrences = expected[query]
                right = f'{{"documents":{documents},"occurrences":{occurrences},' if number % 2 else f">{documents:,} document"  # fmt: skip
                if right not in text:
                    wrong.append(query)

    threads = [threading.Thread(target=client, args=(queries[n::8],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
