"""``make lock`` pins images by digest and looks for known vulnerabilities; without a network it says so and goes on."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from app.dev import advisories, images
from app.dev.images import Image

OLD, NEW = f"sha256:{'0' * 64}", f"sha256:{'1' * 64}"
NOWHERE = "http://127.0.0.1:1"
COMPOSE = f"kafka:\n  image: apache/kafka:4.1.0@{OLD}\ngateway:\n  image: tocsin\n"


@dataclass(slots=True)
class Served:
    """A registry and a database in one. ``token``: what the registry wants."""

    url: str = ""
    token: str | None = None
    digest: str = NEW
    asked: list[Any] = field(default_factory=list)
    answer: Callable[[list[Any]], Any] = lambda queries: {"results": [{} for _ in queries]}


@pytest.fixture
def served() -> Iterator[Served]:
    state = Served()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            state.asked.append(self.path)
            if state.token and self.headers.get("Authorization") != f"Bearer {state.token}":
                scope = self.path.split("/manifests/")[0].removeprefix("/v2/")
                challenge = f'Bearer realm="{state.url}/token",service="registry",scope="repository:{scope}:pull"'
                self._say(401, {"WWW-Authenticate": challenge})
            else:
                self._say(200, {"Docker-Content-Digest": state.digest})

        def do_GET(self) -> None:
            state.asked.append(self.path)
            self._say(200, {}, {"token": state.token})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.asked.append(body)
            self._say(200, {}, state.answer(body["queries"]))

        def _say(self, status: int, headers: dict[str, str], document: Any = None) -> None:
            body = b"" if document is None else json.dumps(document).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("token", [None, "anonymous"])
def test_a_digest_is_what_the_registry_has_now(served: Served, tmp_path: Path, token: str | None) -> None:
    served.token = token
    compose = tmp_path / "docker-compose.yml"
    compose.write_text(COMPOSE)

    assert images.main([compose], served.url) == 0
    assert compose.read_text() == COMPOSE.replace(OLD, NEW)


def test_an_image_without_a_maker_is_one_of_dockers_own(served: Served) -> None:
    assert images.current_digest(Image("python", "3.11"), served.url) == NEW
    assert served.asked == ["/v2/library/python/manifests/3.11"]


def test_each_image_is_asked_for_once(served: Served, tmp_path: Path) -> None:
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(f"FROM python:3.11@{OLD} AS build\nFROM python:3.11@{OLD}\n")

    images.main([dockerfile], served.url)

    assert dockerfile.read_text().count(NEW) == 2
    assert len(served.asked) == 1


def test_digests_stay_where_the_registry_cannot_be_asked(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compose = tmp_path / "docker-compose.yml"
    compose.write_text(COMPOSE)
    served.digest = "latest"

    assert images.main([compose], NOWHERE) == 0
    assert images.main([compose], served.url) == 0
    assert compose.read_text() == COMPOSE
    assert capsys.readouterr().err.count("docker-compose.yml keeps its digests") == 2


def test_the_images_that_we_name_are_all_found() -> None:
    seen = set()

    def digest(image: Image) -> str:
        seen.add(image.name)
        return NEW

    for path in images.FILES:
        images.repinned(path.read_text(), digest)

    assert seen == {"python", "apache/kafka", "clickhouse/clickhouse-server"}


def test_every_pinned_package_is_looked_up_each_once(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert advisories.main(served.url) == 0

    queries = [query for body in served.asked for query in body["queries"]]
    asked = [(each["package"]["ecosystem"], each["package"]["name"], each["version"]) for each in queries]
    assert asked == advisories.pinned()
    assert len(set(asked)) == len(asked)
    assert {("PyPI", "uv"), ("Maven", "org.apache.kafka:kafka_2.13")} <= {(kind, name) for kind, name, _ in asked}
    assert f"{len(asked)} packages looked up, 0 with known vulnerabilities" in capsys.readouterr().out


def _version(name: str) -> str:
    return next(each.version for each in advisories.pinned() if each.name == name)


def test_a_known_vulnerability_is_named_and_fails_the_step(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    served.answer = lambda queries: {
        "results": [{"vulns": [{"id": "GHSA-1"}]} if q["package"]["name"] == "uv" else {} for q in queries]
    }

    assert advisories.main(served.url) == 1
    assert f"PyPI uv {_version('uv')}: GHSA-1" in capsys.readouterr().out


@pytest.mark.parametrize("answer", [[], {}, {"results": []}, {"results": "none"}])
def test_what_could_not_be_looked_up_is_said(served: Served, answer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    served.answer = lambda _: answer

    assert advisories.main(served.url) == 0
    assert "packages are not checked" in capsys.readouterr().err


def test_without_a_network_the_lock_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert advisories.main(NOWHERE) == 0
    assert "the OSV database can't be asked" in capsys.readouterr().err
