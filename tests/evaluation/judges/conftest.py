import pytest

from tests.evaluation.judges.judge_server import judge_server


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with judge_server() as server:
        yield server
