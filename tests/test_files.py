"""Where the code stands in its history."""

import subprocess

from llmjp_jax import files
from llmjp_jax.files import git_commit


def test_the_commit_says_whether_tracked_files_were_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "repository_root", lambda: tmp_path)
    assert git_commit() is None, "no clone"

    def git(*arguments) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    (tmp_path / "code.py").write_text("1")
    git("add", "code.py")
    git("commit", "-m", "Begin")
    git("tag", "-a", "-m", "A release", "v1")
    (tmp_path / "notes").write_text("untracked files are no change")
    assert git_commit() == git("rev-parse", "HEAD")
    (tmp_path / "code.py").write_text("2")
    assert git_commit() == git("rev-parse", "HEAD") + "-dirty"
