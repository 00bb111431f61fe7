"""One file over HTTP: whatever server and network do, it ends with the right bytes under its name, or with nothing there."""

import hashlib
import random

import pytest

from llmjp_jax.corpus.fetch import RemoteFile, check_path, fetch_file
from llmjp_jax.corpus.web import Patience, Refusal, check_url
from llmjp_jax.errors import UserError
from tests.corpus.file_server import Served, file_server

CONTENT = random.Random(0).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(attempts=3, first_wait=0.01, timeout=5)


@pytest.fixture
def server():
    with file_server() as server:
        yield server


@pytest.fixture
def target(tmp_path):
    return tmp_path / "folder" / "corpus.bin"


def remote(server, name="/corpus.bin", **fields):
    return RemoteFile(url=server.url + name, path="corpus.bin", **fields)


def fetch(server, target, **fields):
    return fetch_file(remote(server, **fields), target, patience=QUICK)


def interrupt(server, target, file, at=1_000_000):
    """Leaves the first `at` bytes of `file` as an unfinished download."""
    server.files["/corpus.bin"] = file
    file.cuts[:] = [at, 0, 0] if file.ranges else [at, at, at]
    with pytest.raises(UserError, match=f"3 attempts .* run again to go on from byte {at:,}"):
        fetch(server, target)
    assert not target.exists()
    file.cuts.clear()
    server.requests.clear()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_whole(target, content=CONTENT):
    assert target.read_bytes() == content
    assert names(target.parent) == [target.name], "nothing else may be left"


def test_a_file_is_fetched_with_its_size_and_hash(server, target):
    server.files["/corpus.bin"] = Served(CONTENT)
    seen = []
    found = fetch_file(remote(server), target, progress=seen.append, patience=QUICK)
    assert found == (len(CONTENT), SHA256) and sum(seen) == len(CONTENT) and len(seen) > 1
    assert_whole(target)


def test_an_empty_file_is_a_file(server, target):
    server.files["/corpus.bin"] = Served(b"")
    assert fetch(server, target) == (0, hashlib.sha256().hexdigest())
    assert_whole(target, b"")


@pytest.mark.parametrize(
    "marks", [{}, {"etag": None}, {"last_modified": None}, {"etag": 'W/"weak"'}], ids=str
)
def test_a_cut_connection_goes_on_where_it_was(server, target, marks):
    server.files["/corpus.bin"] = Served(CONTENT, cuts=[1_000_000, 1_500_000, 0], **marks)
    assert fetch(server, target) == (len(CONTENT), SHA256)
    asked = [headers.get("Range") for headers in server.gets("/corpus.bin")]
    assert asked == [None, "bytes=1000000-", "bytes=2500000-", "bytes=2500000-"]
    assert_whole(target)


def test_a_server_may_give_less_than_was_asked_for(server, target):
    server.files["/corpus.bin"] = Served(CONTENT, cuts=[500_000], cap=900_000)
    assert fetch(server, target) == (len(CONTENT), SHA256)
    asked = [headers.get("Range") for headers in server.gets("/corpus.bin")]
    assert asked == [None, "bytes=500000-", "bytes=1400000-", "bytes=2300000-"]


@pytest.mark.parametrize("marks", [{}, {"etag": None}, {"etag": 'W/"weak"'}], ids=str)
def test_a_later_run_goes_on_too(server, target, marks):
    interrupt(server, target, Served(CONTENT, **marks))
    seen = []
    assert fetch_file(remote(server), target, progress=seen.append, patience=QUICK)[1] == SHA256
    [headers] = server.gets("/corpus.bin")
    assert headers["Range"] == "bytes=1000000-"
    assert headers["If-Range"] in ('"one"', "Wed, 01 Jan 2025 00:00:00 GMT")
    assert sum(seen) == len(CONTENT)
    assert_whole(target)


def test_without_a_mark_of_the_version_a_later_run_begins_anew(server, target):
    interrupt(server, target, Served(CONTENT, etag=None, last_modified=None))
    assert fetch(server, target)[1] == SHA256
    assert "Range" not in server.gets("/corpus.bin")[0]
    assert_whole(target)


OTHER = random.Random(1).randbytes(len(CONTENT))


@pytest.mark.parametrize(
    "changed",
    [
        Served(OTHER, etag='"two"'),
        Served(OTHER[:500_000], etag='"two"'),
        Served(OTHER + b"more", etag='"one"'),
        Served(OTHER, etag='"one"', last_modified="Thu, 02 Jan 2025 00:00:00 GMT"),
        Served(OTHER, etag=None, last_modified="Thu, 02 Jan 2025 00:00:00 GMT"),
    ],
    ids=["etag", "shorter", "longer", "date beside a false etag", "date"],
)
def test_a_file_that_changed_begins_anew(server, target, changed):
    interrupt(server, target, Served(CONTENT))
    server.files["/corpus.bin"] = changed
    size, sha256 = fetch(server, target)
    assert (size, sha256) == (len(changed.content), hashlib.sha256(changed.content).hexdigest())
    assert_whole(target, changed.content)


def test_a_server_without_ranges_sends_it_all_again(server, target):
    interrupt(server, target, Served(CONTENT, ranges=False))
    seen = []
    assert fetch_file(remote(server), target, progress=seen.append, patience=QUICK)[1] == SHA256
    assert sum(seen) == len(CONTENT) and min(seen) == -1_000_000
    assert_whole(target)


def test_a_server_without_ranges_that_always_cuts_is_given_up(server, target):
    server.files["/corpus.bin"] = Served(CONTENT, ranges=False, cuts=[1_000_000] * 9)
    with pytest.raises(UserError, match="3 attempts .*ended at|broke|no connection"):
        fetch(server, target)
    assert len(server.gets("/corpus.bin")) == 3


def test_a_passing_failure_is_tried_again(server, target):
    server.files["/corpus.bin"] = Served(CONTENT, statuses=[500, 503])
    assert fetch(server, target)[1] == SHA256
    server.files["/corpus.bin"].statuses[:] = [500] * 9
    with pytest.raises(UserError, match=r"3 attempts \(the server answered 500\); try again later"):
        fetch(server, target)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(server, target, status):
    server.files["/corpus.bin"] = Served(CONTENT, statuses=[status] * 9)
    with pytest.raises(Refusal) as refusal:
        fetch(server, target)
    assert refusal.value.status == status and len(server.requests) == 1
    assert not target.exists()


def test_no_server_is_one_sentence(target):
    with pytest.raises(UserError, match="3 attempts .*refused.*; try again later"):
        fetch_file(RemoteFile(url="http://127.0.0.1:9/x", path="x"), target, patience=QUICK)


def test_a_silent_server_is_not_waited_for_without_end(server, target):
    server.files["/corpus.bin"] = Served(CONTENT, pause=3)
    with pytest.raises(UserError, match="2 attempts"):
        fetch_file(
            remote(server), target, patience=Patience(attempts=2, first_wait=0.01, timeout=0.2)
        )


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"sha256": "0" * 64}, f"sha256 {SHA256} in place of sha256 0000"),
        ({"bytes": 5}, "has 3,000,000 bytes in place of 5"),
    ],
    ids=["sha256", "bytes"],
)
@pytest.mark.parametrize("interrupted", [False, True])
def test_another_file_than_the_manifests_leaves_nothing(
    server, target, fields, message, interrupted
):
    if interrupted:
        interrupt(server, target, Served(CONTENT))
    server.files["/corpus.bin"] = Served(CONTENT)
    with pytest.raises(UserError, match=message):
        fetch(server, target, **fields)
    assert not target.exists() and names(target.parent) == []


def test_a_file_without_end_is_stopped_at_the_size_it_should_have(server, target):
    server.files["/corpus.bin"] = Served(CONTENT, chunked=True)
    with pytest.raises(UserError, match="in place of 100 bytes"):
        fetch(server, target, bytes=100)
    assert names(target.parent) == []


def test_the_right_file_stays_when_a_new_download_of_it_is_wrong(server, target):
    server.files["/corpus.bin"] = Served(CONTENT)
    fetch(server, target)
    server.files["/corpus.bin"] = Served(OTHER, etag='"two"')
    with pytest.raises(UserError):
        fetch(server, target, sha256=SHA256)
    assert_whole(target)


def test_a_chunked_body_that_is_cut_is_not_whole(server, target):
    server.files["/corpus.bin"] = Served(CONTENT, chunked=True, cuts=[1_000_000])
    assert fetch(server, target)[1] == SHA256
    assert_whole(target)


def test_a_body_whose_end_cannot_be_told_is_refused_unless_the_hash_is_known(server, target):
    server.files["/corpus.bin"] = Served(CONTENT, length=False)
    with pytest.raises(UserError, match="does not say how long"):
        fetch(server, target)
    assert fetch(server, target, sha256=SHA256)[1] == SHA256


def test_a_redirect_and_a_name_in_the_answer_do_not_choose_the_place(server, target):
    server.files["/corpus.bin"] = Served(redirect="/cdn/..%2F..%2Fevil?x=1")
    server.files["/cdn/..%2F..%2Fevil?x=1"] = Served(
        CONTENT, headers={"Content-Disposition": 'attachment; filename="../../evil"'}
    )
    fetch(server, target)
    assert_whole(target)
    assert sorted(path.name for path in target.parent.parent.rglob("*")) == [
        "corpus.bin",
        "folder",
    ]


@pytest.mark.parametrize("where", ["file:///etc/passwd", "ftp://127.0.0.1/x", "/corpus.bin"])
def test_a_redirect_to_nowhere_is_refused(server, target, where):
    server.files["/corpus.bin"] = Served(redirect=where)
    with pytest.raises(UserError, match="redirects where it must not"):
        fetch(server, target)
    assert not target.exists()


def test_a_token_goes_to_its_own_host_alone(server, target):
    with file_server() as other:
        elsewhere = other.url.replace("127.0.0.1", "localhost") + "/cdn"
        server.files["/corpus.bin"] = Served(redirect=elsewhere)
        other.files["/cdn"] = Served(CONTENT)
        fetch_file(remote(server), target, token="secret", patience=QUICK)
        assert server.gets("/corpus.bin")[0]["Authorization"] == "Bearer secret"
        assert "Authorization" not in other.gets("/cdn")[0]


def test_an_unwritable_place_is_one_sentence(server, tmp_path):
    server.files["/corpus.bin"] = Served(CONTENT)
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError):
        fetch(server, tmp_path / "file" / "corpus.bin")


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../../x", "/etc/x", "", "a//b", ".", "a/.", ".hidden", "a\\b", "c:x", "a\x00b", "a/", "SHA256SUMS", "x."],
)  # fmt: skip
def test_an_evil_path_is_refused(path):
    with pytest.raises(UserError, match="m.toml: .* is no plain file name"):
        check_path(path, "m.toml")


@pytest.mark.parametrize("path", ["x", "a/b.jsonl.gz", "日本語/文.txt", "a b.zip", "v1.0..x"])
def test_a_plain_path_is_accepted(path):
    check_path(path, "m.toml")


@pytest.mark.parametrize("url", ["http://example.org/x", "ftp://x/y", "file:///x", "x", "https://"])
def test_an_address_that_is_not_https_is_refused(url):
    with pytest.raises(UserError, match="no https address"):
        check_url(url, "m.toml")
