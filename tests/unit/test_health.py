"""What the image's health check says of a role."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from app.health import problem


class Role(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health/ready" else 404)
        self.end_headers()
        self.wfile.write(b"restoring partitions [3]")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), type("Served", (Role,), {})) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def announce(data: Path, role: str, content: str, at: int) -> None:
    (data / role).mkdir()
    path = data / role / "operations.json"
    path.write_text(content)
    os.utime(path, (at, at))


def test_a_role_that_is_ready_is_healthy(served: HTTPServer, tmp_path: Path) -> None:
    announce(tmp_path, "router-1", json.dumps({"url": f"http://127.0.0.1:{served.server_port}"}), 2)
    announce(tmp_path, "router-0", json.dumps({"url": "http://127.0.0.1:1"}), 1)  # what ran here before

    assert problem({"TOCSIN_DATA__DIR": str(tmp_path), "http_proxy": "http://127.0.0.1:1"}) is None


def test_a_role_that_is_not_ready_says_why(served: HTTPServer, tmp_path: Path) -> None:
    served.RequestHandlerClass.status = 503  # type: ignore[attr-defined]
    announce(tmp_path, "router-1", json.dumps({"url": f"http://127.0.0.1:{served.server_port}"}), 1)

    assert problem({"TOCSIN_DATA__DIR": str(tmp_path)}) == "restoring partitions [3]"


@pytest.mark.parametrize(
    "content", ['{"url": "http://127.0.0.1:1"}', '{"url": "none"}', '{"url": null}', "{}", "{", "[]"]
)
def test_a_role_that_does_not_answer_is_not_healthy(tmp_path: Path, content: str) -> None:
    announce(tmp_path, "router-1", content, 1)

    assert "doesn't answer" in (problem({"TOCSIN_DATA__DIR": str(tmp_path)}) or "")


def test_where_no_role_has_started_nothing_is_healthy(tmp_path: Path) -> None:
    assert problem({"TOCSIN_DATA__DIR": str(tmp_path)}) == f"no role has started with data.dir {tmp_path}"
