"""tools/download.py as a user runs it: against a server on this machine, killed, refused, asked twice."""

import gzip
import hashlib
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from llmjp_jax.corpus.archives import unpack_archive
from llmjp_jax.corpus.sources import load_sources
from llmjp_jax.errors import UserError
from tests.corpus.file_server import Served, file_server

REPOSITORY = Path(__file__).resolve().parents[2]
CONTENT = random.Random(0).randbytes(2_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    with file_server() as server:
        yield server


class Tool:
    """Runs the tool with one manifest, whose tables are given as TOML without title, licence and home."""

    def __init__(self, folder, server):
        self.folder, self.server = folder, server
        self.output = folder / "downloads"
        self.manifest = folder / "sources.toml"
        self.environment = {name: value for name, value in os.environ.items() if name != "HF_TOKEN"}

    def sources(self, **tables):
        lines = []
        for name, fields in tables.items():
            lines += [f"[downloads.{name}]", f'title = "The {name}"', 'licence = "CC-Test-1.0"']
            lines += [f'home = "{self.server.url}/home"', fields.replace("URL", self.server.url)]
        self.manifest.write_text("\n".join(lines))

    def command(self, *arguments):
        command = [sys.executable, "tools/download.py", *arguments]
        return [*command, f"--manifest={self.manifest}", f"--output_dir={self.output}"]

    def run(self, *arguments, code=0, **environment):
        found = subprocess.run(
            self.command(*arguments),
            cwd=REPOSITORY,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        assert found.returncode == code, found.stdout + found.stderr
        if code:
            assert code == 2 and re.search(r"^error: .*$", found.stderr, re.MULTILINE), found.stderr
            assert "Traceback" not in found.stderr
        return found.stdout + found.stderr

    def files(self, name):
        folder = self.output / name
        return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())  # fmt: skip


@pytest.fixture
def tool(tmp_path, server):
    return Tool(tmp_path, server)


def one_file(path="corpus.bin", sha256="unsure", size="unsure", **more):
    size = f'"{size}"' if isinstance(size, str) else size
    rest = "".join(f", {name} = {value}" for name, value in more.items())
    return f'files = [{{ url = "URL/{path}", sha256 = "{sha256}", bytes = {size}{rest} }}]'


def test_the_licence_comes_before_the_first_byte(tool):
    tool.sources(corpus=one_file(size=len(CONTENT)))
    tool.server.files["/corpus.bin"] = Served(CONTENT)
    said = tool.run("corpus", code=2)
    for word in ("The corpus", "CC-Test-1.0", f"{tool.server.url}/home", "2 MB", "give --yes"):
        assert word in said
    assert tool.server.requests == []
    tool.run("corpus", "--yes")
    assert (tool.output / "corpus" / "corpus.bin").read_bytes() == CONTENT


def test_on_a_terminal_it_asks(tool):
    import pty

    tool.sources(corpus=one_file())
    tool.server.files["/corpus.bin"] = Served(CONTENT)
    for answer, code in ((b"n\n", 2), (b"y\n", 0)):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            tool.command("corpus"), cwd=REPOSITORY, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )  # fmt: skip
        os.write(ours, answer)
        said = process.communicate(timeout=60)[0].decode()
        os.close(ours), os.close(theirs)
        assert process.returncode == code and "under this licence? [y/N]" in said, said
        assert "2 MB" in said, "a size that the manifest lacks is asked of the server"
        assert bool(tool.server.gets("/corpus.bin")) == (code == 0)


def test_a_second_run_does_nothing_and_a_damaged_file_is_fetched_again(tool):
    tool.sources(corpus=one_file())
    tool.server.files["/corpus.bin"] = Served(CONTENT)
    assert f"sha256 {SHA256} (the manifest has none to compare)" in tool.run("corpus", "--yes")
    assert (tool.output / "corpus" / "SHA256SUMS").read_text() == f"{SHA256}  corpus.bin\n"
    assert subprocess.run(["sha256sum", "-c", "SHA256SUMS"], cwd=tool.output / "corpus").returncode == 0  # fmt: skip
    tool.server.requests.clear()
    assert "all 1 files are there" in tool.run("corpus")
    assert tool.server.requests == []
    path = tool.output / "corpus" / "corpus.bin"
    path.write_bytes(CONTENT[:-1] + b"x")
    tool.run("corpus", "--yes")
    assert path.read_bytes() == CONTENT and len(tool.server.gets("/corpus.bin")) == 1
    os.utime(path)
    tool.run("corpus")
    assert len(tool.server.gets("/corpus.bin")) == 1


def test_a_later_download_is_checked_against_the_first(tool):
    tool.sources(corpus=one_file())
    tool.server.files["/corpus.bin"] = Served(CONTENT)
    tool.run("corpus", "--yes")
    (tool.output / "corpus" / "corpus.bin").unlink()
    tool.server.files["/corpus.bin"] = Served(b"another", etag='"two"')
    assert f"in place of sha256 {SHA256}" in tool.run("corpus", "--yes", code=2)
    assert tool.files("corpus") == [".lock", ".records.json", "SHA256SUMS"]


def test_a_wrong_hash_leaves_nothing_that_a_later_run_believes(tool):
    tool.sources(corpus=one_file(sha256="0" * 64))
    tool.server.files["/corpus.bin"] = Served(CONTENT)
    for _ in range(2):
        assert f"sha256 {SHA256} in place of sha256 000" in tool.run("corpus", "--yes", code=2)
        assert tool.files("corpus") == [".lock"]


@pytest.mark.parametrize("ranges", [True, False])
def test_killed_at_any_moment_the_next_run_has_the_same_bytes(tool, ranges):
    tool.sources(corpus=one_file(sha256=SHA256, size=len(CONTENT)))
    file = tool.server.files["/corpus.bin"] = Served(CONTENT, ranges=ranges, pause=0.05)
    partial = tool.output / "corpus" / ".corpus.bin.part"
    for _ in range(2):
        before = partial.stat().st_size if partial.exists() and ranges else 0
        process = subprocess.Popen(
            tool.command("corpus", "--yes"), cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while not (partial.exists() and partial.stat().st_size > before + 200_000):
            assert process.poll() is None and time.monotonic() < deadline
            if partial.exists() and partial.stat().st_size < before:
                before = 0
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    had = partial.stat().st_size
    assert 0 < had < len(CONTENT) and not (tool.output / "corpus" / "corpus.bin").exists()
    file.pause = 0
    tool.server.requests.clear()
    tool.run("corpus", "--yes")
    assert (tool.output / "corpus" / "corpus.bin").read_bytes() == CONTENT
    assert tool.files("corpus") == [".lock", ".records.json", "SHA256SUMS", "corpus.bin"]
    assert tool.server.gets("/corpus.bin")[0]["Range"] == f"bytes={had}-"


def test_two_at_once_do_not_meet(tool):
    tool.sources(corpus=one_file())
    tool.server.files["/corpus.bin"] = Served(CONTENT, pause=0.1)
    first = subprocess.Popen(tool.command("corpus", "--yes"), cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    while not (tool.output / "corpus" / ".corpus.bin.part").exists():
        assert first.poll() is None
        time.sleep(0.01)
    assert "another download into" in tool.run("corpus", "--yes", code=2)
    assert first.wait(60) == 0


def test_a_gated_source_is_explained_and_nothing_is_asked_for(tool):
    gated = one_file() + '\ntoken = "HF_TOKEN"\ngated = "fill in the form at https://x"'
    tool.sources(gated=gated, hand='by_hand = "write to its authors"')
    tool.server.files["/corpus.bin"] = Served(CONTENT)
    said = tool.run("gated", "--yes", code=2)
    assert "CC-Test-1.0" in said and "form at https://x; then set HF_TOKEN" in said
    said = tool.run("hand", "--yes", code=2)
    assert f"write to its authors; what you have goes into {tool.output / 'hand'}" in said
    assert tool.server.requests == []
    (tool.output / "hand").mkdir(parents=True)
    (tool.output / "hand" / "data.json").write_bytes(CONTENT)
    assert f"data.json: 2,000,000 bytes, sha256 {SHA256}" in tool.run("hand")
    tool.run("gated", "--yes", HF_TOKEN="secret")
    assert tool.server.gets("/corpus.bin")[0]["Authorization"] == "Bearer secret"
    tool.server.files["/corpus.bin"].statuses[:] = [403]
    (tool.output / "gated" / "corpus.bin").unlink()
    said = tool.run("gated", "--yes", code=2, HF_TOKEN="secret")
    assert "answered 403" in said and "HF_TOKEN must be of that account" in said


def test_a_file_that_is_gone_says_what_to_do(tool):
    tool.sources(dump=one_file("{date}/dump.bz2") + '\nparameters = { date = "20230720" }\ngone = "give --date"')  # fmt: skip
    tool.server.files["/20260101/dump.bz2"] = Served(b"new")
    said = tool.run("dump", "--yes", code=2)
    assert "20230720/dump.bz2: the server answered 404" in said and "; give --date" in said
    tool.run("dump", "--yes", "--date=20260101")
    assert (tool.output / "dump" / "dump.bz2").read_bytes() == b"new"
    assert "is not plain" in tool.run("dump", "--yes", "--date=../../x", code=2)
    assert "dump has no --crawl" in tool.run("dump", "--yes", "--crawl=x", code=2)


def test_a_huggingface_data_set_is_listed_with_sizes_and_hashes(tool):
    tool.sources(
        hub='repository = { host = "huggingface", site = "URL", name = "o/n", revision = "main", include = ["data/*.jsonl"] }'
    )
    big = {"type": "file", "path": "data/a/big.jsonl", "size": len(CONTENT)}
    big["lfs"] = {"oid": SHA256, "size": len(CONTENT), "pointerSize": 130}
    entries = [{"type": "directory", "path": "data/a"}, big, {"type": "file", "path": "data/README.md", "size": 1}]  # fmt: skip
    following = [{"type": "file", "path": "data/small 1.jsonl", "size": 3}]
    tree = "/api/datasets/o/n/tree/main/data?recursive=true"
    tool.server.files |= {
        tree: Served(json.dumps(entries).encode(), headers={"Link": f'<{tool.server.url}/page2>; rel="next"'}),
        "/page2": Served(json.dumps(following).encode()),
        "/datasets/o/n/resolve/main/data/a/big.jsonl": Served(CONTENT),
        "/datasets/o/n/resolve/main/data/small%201.jsonl": Served(b"{}\n"),
    }  # fmt: skip
    assert "2 files, 2 MB" in tool.run("hub", "--yes")
    assert tool.files("hub") == [".lock", ".records.json", "SHA256SUMS", "data/a/big.jsonl", "data/small 1.jsonl"]  # fmt: skip
    assert "all 1 files are there" in tool.run("hub", "--yes", "--include=data/a/*")
    assert "no file that matches" in tool.run("hub", "--include=x", code=2)
    big["path"] = "data/../../evil.jsonl"
    tool.server.files[tree].content = json.dumps([big]).encode()
    assert "is no plain file name" in tool.run("hub", "--yes", code=2)
    tool.server.files[tree].content = b"<html>"
    assert "answers something else than a list" in tool.run("hub", "--yes", code=2)


def test_a_gitlab_project_is_listed_through_its_lfs_pointers(tool):
    tool.sources(lab='repository = { host = "gitlab", site = "URL", name = "g/n", revision = "main", include = ["ja/*.gz", "*.txt"] }')  # fmt: skip
    pointer = (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{SHA256}\nsize {len(CONTENT)}\n"
    )
    entries = [{"type": "tree", "path": "ja"}, {"type": "blob", "path": "ja/a.gz"}, {"type": "blob", "path": "b.txt"}]  # fmt: skip
    project = "/api/v4/projects/g%2Fn/repository"
    tool.server.files |= {
        f"{project}/tree?recursive=true&per_page=100&ref=main&path=": Served(json.dumps(entries).encode()),
        f"{project}/files/ja%2Fa.gz/raw?ref=main": Served(pointer.encode()),
        f"{project}/files/b.txt/raw?ref=main": Served(b"text"),
        "/g/n/-/raw/main/ja/a.gz": Served(CONTENT),
        "/g/n/-/raw/main/b.txt": Served(b"text"),
    }  # fmt: skip
    tool.run("lab", "--yes")
    assert (tool.output / "lab" / "ja" / "a.gz").read_bytes() == CONTENT
    (tool.output / "lab" / "ja" / "a.gz").unlink()
    (tool.output / "lab" / "SHA256SUMS").unlink()
    tool.server.files["/g/n/-/raw/main/ja/a.gz"] = Served(CONTENT[:-1] + b"x", etag='"two"')
    assert f"in place of sha256 {SHA256}" in tool.run("lab", "--yes", code=2)


def test_common_crawl_takes_a_crawls_first_files(tool):
    tool.sources(common_crawl='warc_paths = "URL/crawl-data/{crawl}/warc.paths.gz"\nparameters = { crawl = "CC-1" }')  # fmt: skip
    paths = [f"crawl-data/CC-2/segments/{n}/warc/{n}.warc.gz" for n in range(3)]
    tool.server.files["/crawl-data/CC-2/warc.paths.gz"] = Served(gzip.compress("\n".join(paths).encode()))  # fmt: skip
    for path in paths:
        tool.server.files[f"/{path}"] = Served(path.encode())
    assert "2 files" in tool.run("common_crawl", "--crawl=CC-2", "--max_files=2", "--yes")
    assert [name for name in tool.files("common_crawl") if "warc" in name] == ["0.warc.gz", "1.warc.gz"]  # fmt: skip
    assert "answered 404" in tool.run("common_crawl", "--yes", code=2)


def test_a_disk_without_room_is_one_sentence(tool):
    tool.sources(corpus=one_file(), huge=one_file(size=10**18))
    assert "has room for" in tool.run("huge", "--yes", code=2)
    tool.server.files["/corpus.bin"] = Served(CONTENT)
    program = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000)); "
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = tool.command("corpus", "--yes")
    found = subprocess.run([command[0], "-c", program, *command[1:]], cwd=REPOSITORY, capture_output=True, text=True)  # fmt: skip
    assert found.returncode == 2 and "Traceback" not in found.stderr
    assert "may write" in found.stderr and "are kept for the next run" in found.stderr
    tool.run("corpus", "--yes")
    assert tool.server.gets("/corpus.bin")[-1]["Range"] == "bytes=500000-"


def test_the_list_and_unknown_names(tool):
    tool.sources(corpus=one_file(size=1_700_000), hand='by_hand = "x"')
    said = tool.run("--list")
    assert re.search(r"corpus +1\.7 MB +CC-Test-1\.0 +The corpus", said) and "by hand" in said
    assert "did you mean corpus?" in tool.run("corpsu", code=2)
    assert "name a source" in tool.run(code=2)


@pytest.mark.parametrize(
    "fields, message",
    [
        ('files = [{ url = "https://x/y", sha256 = "unsure" }]', "has no field bytes"),
        ('files = [{ url = "https://x/y", sha256 = "12", bytes = 1 }]', "64 hexadecimal"),
        ('files = [{ url = "https://x/y", path = "../y", sha256 = "unsure", bytes = 1 }]', "no plain file"),
        ('files = [{ url = "https://x/..", sha256 = "unsure", bytes = 1 }]', "no plain file"),
        ('files = [{ url = "http://example.org/y", sha256 = "unsure", bytes = 1 }]', "no https address"),
        ('files = [{ url = "https://x/{date}", sha256 = "unsure", bytes = 1 }]', "make them the same"),
        ('by_hand = "x"\nwarc_paths = "https://x"', "it has warc_paths and by_hand"),
        ('by_hand = "x"\nsize = 3', "unknown field size"),
        ("", "it has none"),
    ],
)  # fmt: skip
def test_a_manifests_mistake_is_one_sentence(tool, fields, message):
    tool.sources(bad=fields)
    with pytest.raises(UserError, match=message) as error:
        load_sources([tool.manifest])
    assert "[downloads.bad]" in str(error.value)


def test_every_manifest_of_the_repository_is_read():
    sources = load_sources()
    assert {"wikipedia_ja", "mc4_ja", "stack", "common_crawl", "llm_jp_corpus_v2", "tokenizer_v2_2_100k", "dolly_ja", "jbbq", "quickstart"} <= sources.keys()  # fmt: skip
    assert sources["quickstart"].bytes == 67_429_125
    for name in ("jbbq", "ichikara", "pile", "kenlm_v2"):
        assert sources[name].by_hand
    for name in ("stack", "answer_carefully"):
        assert sources[name].gated and sources[name].token == "HF_TOKEN"


def test_the_released_tokenizers_hash_is_that_of_the_file(shared_data):
    for name, source in load_sources().items():
        if name.startswith("tokenizer_"):
            content = (shared_data / "tokenizers" / source.files[0].path).read_bytes()
            assert hashlib.sha256(content).hexdigest() == source.files[0].sha256
            assert len(content) == source.files[0].bytes


def tar_of(*members):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return content.getvalue()


def tar_link(name, target, kind=tarfile.SYMTYPE):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zip_of(**members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def test_an_archive_is_unpacked_where_the_manifest_says_so(tool):
    tool.sources(packed=one_file("data.tar.gz", unpack="true"), plain=one_file("data.tar.gz"))
    tool.server.files["/data.tar.gz"] = Served(tar_of((tarfile.TarInfo("d/a.txt"), b"a")))
    tool.run("plain", "--yes")
    assert tool.files("plain") == [".lock", ".records.json", "SHA256SUMS", "data.tar.gz"]
    tool.run("packed", "--yes")
    inside = tool.output / "packed" / "data.unpacked" / "d" / "a.txt"
    assert inside.read_text() == "a"
    inside.unlink()
    tool.run("packed")
    assert not inside.exists(), "what was unpacked is the user's"


def zip_with_link():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/tmp")
    return content.getvalue()


@pytest.mark.parametrize(
    "content, message",
    [
        (tar_of((tarfile.TarInfo("../evil"), b"x")), "lies outside"),
        (tar_of((tarfile.TarInfo("/tmp/evil"), b"x")), "lies outside"),
        (tar_of((tar_link("l", "/tmp"), b""), (tarfile.TarInfo("l/evil"), b"x")), "a link"),
        (tar_of((tar_link("l", "../x", tarfile.LNKTYPE), b"")), "a link"),
        (tar_of((tar_link("l", "", tarfile.FIFOTYPE), b"")), "a link or a device"),
        (zip_of(**{"../evil": "x"}), "lies outside"),
        (zip_of(**{"/tmp/evil": "x"}), "lies outside"),
        (zip_of(**{"..\\evil": "x"}), "lies outside"),
        (zip_with_link(), "a link"),
        (zip_of(bomb=b"0" * 3_000_000), "more than 1,000,000 bytes"),
        (tar_of((tarfile.TarInfo("bomb"), b"0" * 3_000_000)), "more than 1,000,000 bytes"),
        (tar_of((tarfile.TarInfo("a"), CONTENT[:900_000]))[:-5000], "cannot be unpacked"),
        (b"no archive", "cannot be unpacked"),
    ],
    ids=[
        *("tar above", "tar absolute", "tar through a link", "tar hard link", "tar device"),
        *(
            "zip above",
            "zip absolute",
            "zip backslash",
            "zip link",
            "zip bomb",
            "tar bomb",
            "cut off",
            "none",
        ),
    ],
)
def test_an_evil_archive_writes_nothing_anywhere(tmp_path, content, message):
    archive = tmp_path / "in" / "archive"
    archive.parent.mkdir()
    archive.write_bytes(content)
    with pytest.raises(UserError, match=message):
        unpack_archive(archive, tmp_path / "in" / "out", max_bytes=1_000_000)
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "archive"]
    assert not Path("/tmp/evil").exists()
