"""WARC files, made here byte by byte: what becomes a document, what is passed over, what is broken and where."""

import gzip

import pytest

pytest.importorskip("fastwarc")

from llmjp_jax.corpus.readers import read_raw
from llmjp_jax.corpus.readers.broken import BrokenRecord
from llmjp_jax.corpus.readers.warc import read_warc
from llmjp_jax.errors import UserError

TEXT = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。" * 9
ENDING = b"\r\n\r\n"


def uuid(number: int) -> str:
    return f"f1a9564a-ae00-40ef-838e-a4486a83fd{number:02d}"


def body(number: int, encoding: str = "utf-8", charset: str = "utf-8") -> bytes:
    page = f"<html><head><meta charset='{charset}'></head><body><div class=main><p>第{number}話</p><p>{TEXT}</p></div>"
    return page.encode(encoding)


def record(
    number: int, page: bytes | None = None, *, status="200 OK", headers="Content-Type: text/html\r\n",
    kind="response", length: int | None = None,
) -> bytes:  # fmt: skip
    page = body(number) if page is None else page
    block = f"HTTP/1.1 {status}\r\n{headers}\r\n".encode() + page
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{uuid(number)}>\r\n"
        f"WARC-Date: 2020-02-0{number % 9 + 1}T03:04:05Z\r\nWARC-Target-URI: http://example.jp/{number}\r\n"
        f"Content-Type: application/http; msgtype={kind}\r\n"
        f"Content-Length: {len(block) if length is None else length}\r\n\r\n"
    )
    return head.encode() + block + ENDING


def chunked(data: bytes) -> bytes:
    parts = [data[start : start + 100] for start in range(0, len(data), 100)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@pytest.fixture(params=["plain", "gz"])
def write(request, tmp_path):
    """Writes records as `.warc` or, a member each, as `.warc.gz`; gives the path and where each record begins."""

    def write(records: list[bytes], cut: int = 0):
        if request.param == "gz":
            # Bytes that are no record stay as they are: a damaged place.
            records = [gzip.compress(one) if one.startswith(b"WARC") else one for one in records]
        path = tmp_path / ("a.warc.gz" if request.param == "gz" else "a.warc")
        data = b"".join(records)
        path.write_bytes(data[: len(data) - cut])
        starts = [sum(map(len, records[:index])) for index in range(len(records))]
        return path, [f"byte {start}" for start in starts]

    return write


def numbers(results) -> list[int | str]:
    """The number of each document, or where a record is broken."""
    return [
        one.position if isinstance(one, BrokenRecord) else int(one["meta"]["docId"][-2:])
        for _, one in results
    ]


def test_a_page_becomes_a_document_with_its_position(write):
    path, starts = write([record(1), record(2)])
    results = list(read_warc(path))
    assert [position for position, _ in results] == starts
    assert results[1][1] == {
        "text": f"第2話\n{TEXT}",
        "meta": {
            "docId": uuid(2), "url": "http://example.jp/2", "charset": "utf-8", "language": "ja",
            "date": "2020-02-03T03:04:05",
        },
        "paragraphs": [
            {"path": "body>div.main>p", "text": "第2話", "link_chars": 0},
            {"path": "body>div.main>p", "text": TEXT, "link_chars": 0},
        ],
    }  # fmt: skip
    assert list(read_raw(path, "warc")) == results


def test_other_records_statuses_and_types_are_passed_over(write):
    path, _ = write([
        record(0, kind="warcinfo"),
        record(1, kind="request"),
        record(2, status="404 Not Found"),
        record(3, status="301 Moved", headers="Location: /\r\n"),
        record(4, headers="Content-Type: application/pdf\r\n"),
        record(5, b"\x89PNG" + bytes(300), headers=""),
        record(6, headers="content-type:TEXT/HTML;charset=utf-8\r\n"),
        record(7, headers="Content-Type: application/xhtml+xml\r\n"),
        record(8, headers=""),  # no type, and it begins with a tag
        record(9, kind="revisit"),
        record(10, headers="Content-Type: text/plain\r\n"),
    ])  # fmt: skip
    assert numbers(read_warc(path)) == [6, 7, 8]


def test_a_large_body_is_read_whole(write):
    page = b"<html>" + b"<p>x</p>" * 30_000 + body(1)
    path, _ = write([record(1, page), record(2)])
    (_, first), (_, second) = read_warc(path, languages=None)
    assert len(first["paragraphs"]) == 30_002 and len(second["paragraphs"]) == 2


def test_languages_choose_the_pages(write):
    korean = "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. " * 15
    path, _ = write([
        record(1), record(2, f"<p>{korean}".encode()), record(3, b"<p>The quick brown fox." * 99),
        record(4, "<p>短い文".encode()),
    ])  # fmt: skip
    assert numbers(read_warc(path)) == [1]
    assert numbers(read_warc(path, languages=["ko", "ja"])) == [1, 2]
    everything = list(read_warc(path, languages=None))
    assert [one["meta"]["language"] for _, one in everything] == ["ja", "ko", None, None]


@pytest.mark.parametrize("languages", ["ja", ["jp"]])
def test_a_language_that_there_is_not_is_an_error(write, languages):
    path, _ = write([record(1)])
    with pytest.raises(UserError, match="languages"):
        list(read_warc(path, languages=languages))


@pytest.mark.parametrize(
    ("charset", "encoding", "codec"),
    [("Shift_JIS", "cp932", "cp932"), ("EUC-JP", "euc_jp", "euc_jp")],
)
def test_the_old_japanese_charsets_are_read(write, charset, encoding, codec):
    in_meta = record(1, body(1, encoding, charset))
    in_header = record(
        2,
        body(2, encoding, "").replace(b"charset=''", b""),
        headers=f"Content-Type: text/html; charset={charset}\r\n",
    )
    path, _ = write([in_meta, in_header])
    for number, (_, document) in enumerate(read_warc(path), 1):
        assert document["meta"]["charset"] == codec
        assert document["text"] == f"第{number}話\n{TEXT}"


def test_chunks_and_compression_of_the_body_are_undone(write):
    html = "Content-Type: text/html\r\n"
    path, _ = write([
        record(1, chunked(body(1)), headers=html + "Transfer-Encoding: chunked\r\n"),
        record(2, gzip.compress(body(2)), headers=html + "Content-Encoding: gzip\r\n"),
        record(3, chunked(gzip.compress(body(3))),
               headers=html + "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"),
        # The archive has undone them and kept the headers.
        record(4, headers=html + "Content-Encoding: gzip\r\n"),
        record(5, headers=html + "Transfer-Encoding: chunked\r\n"),
        record(6, headers=html + "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"),
    ])  # fmt: skip
    results = list(read_warc(path))
    assert [one["text"] for _, one in results] == [
        f"第{number}話\n{TEXT}" for number in range(1, 7)
    ]


def test_the_date_is_the_earliest_that_is_no_wrong_clock(write):
    html = "Content-Type: text/html\r\n"
    path, _ = write([
        record(1, headers=html + "Date: Sat, 29 Dec 2012 16:50:56 GMT\r\n"),
        record(2, headers=html + "Last-Modified: Sat, 29 Dec 2012 16:50:56 +0900\r\nDate: nonsense\r\n"),
        record(3, headers=html + "Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\n"),
    ])  # fmt: skip
    dates = [document["meta"]["date"] for _, document in read_warc(path)]
    assert dates == ["2012-12-29T16:50:56", "2012-12-29T07:50:56", "2020-02-04T03:04:05"]


def test_a_record_without_an_id_is_named_by_its_place(write):
    records = [
        record(1),
        record(2).replace(f"WARC-Record-ID: <urn:uuid:{uuid(2)}>\r\n".encode(), b""),
    ]
    path, starts = write(records)
    _, (position, document) = read_warc(path)
    assert document["meta"]["docId"] == f"{path.name}:{starts[1].removeprefix('byte ')}"
    assert position == starts[1]


# Each damages the second of three records.
DAMAGES = {
    "a length that is too small": record(2, length=900),
    "a length that is too large": record(2, length=len(body(2)) + 400),
    "no header": b"neither gzip nor WARC\r\n\r\n",
    "a line that is no header": record(2).replace(b"WARC-Date:", b"WARC Date"),
    "a wrong version line": b"WARC1.0" + record(2)[8:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_record_is_reported_with_its_place_and_the_others_are_read(write, damage):
    path, starts = write([record(1), DAMAGES[damage], record(3)])
    results = list(read_warc(path))
    if damage == "a line that is no header":  # no harm: the date is another then
        assert numbers(results) == [1, 2, 3]
        return
    assert numbers(results) == [1, starts[1], 3]
    broken = results[1][1]
    assert str(path) in str(broken) and starts[1] in str(broken)


def test_a_broken_gzip_member_is_reported_and_the_next_is_read(tmp_path):
    members = [gzip.compress(record(number)) for number in range(4)]
    middle = len(members[1]) // 2
    members[1] = members[1][:middle] + bytes(20) + members[1][middle + 20 :]
    path = tmp_path / "a.warc.gz"
    path.write_bytes(b"".join(members))
    assert numbers(read_warc(path)) == [0, f"byte {len(members[0])}", 2, 3]


@pytest.mark.parametrize("where", ["in the body", "in the last record's header"])
def test_a_file_that_is_cut_off_gives_its_whole_records_and_says_so(write, where):
    path, starts = write([record(1), record(2), record(3)])
    last = path.stat().st_size - int(starts[2].removeprefix("byte "))
    path, starts = write(
        [record(1), record(2), record(3)], cut=last - 12 if "header" in where else 60
    )
    results = list(read_warc(path))
    assert numbers(results) == [1, 2, starts[2]]
    assert "the file" in str(results[2][1])


def test_an_empty_file_and_one_of_another_kind_are_broken(tmp_path):
    empty, text = tmp_path / "empty.warc.gz", tmp_path / "text.warc"
    empty.touch()
    text.write_text("hello\n" * 100)
    ((_, first),) = read_warc(empty)
    ((_, second),) = read_warc(text)
    assert "byte 0: the file is empty" in str(first)
    assert isinstance(second, BrokenRecord) and second.position == "byte 0"


def test_a_body_whose_compression_is_broken_is_a_broken_record(write):
    packed = gzip.compress(body(1))
    broken = packed[:20] + b"\xff" * 30 + packed[50:]
    path, starts = write([
        record(1, broken, headers="Content-Type: text/html\r\nContent-Encoding: gzip\r\n"), record(2),
    ])  # fmt: skip
    assert numbers(read_warc(path)) == [starts[0], 2]


def test_all_records_in_one_gzip_member_are_read(tmp_path):
    path = tmp_path / "a.warc.gz"
    path.write_bytes(gzip.compress(b"".join(record(number) for number in range(3))))
    assert numbers(read_warc(path)) == [0, 1, 2]


def test_progress_adds_up_to_the_file(write):
    path, _ = write([record(number) for number in range(5)])
    read = []
    list(read_warc(path, progress=read.append))
    assert sum(read) == path.stat().st_size and len(read) > 3
