"""The Go client is formatted and vetted, its own tests pass against the gateway, its page's examples run."""

import re
import subprocess
from pathlib import Path

import pytest

from app.domain.hooks import body_of, signed_headers
from clients.types.go_types import go_name, has_method
from clients.types.models import document, models_of
from clients.types.services import is_for_services
from tests import golang
from tests.unit.clients.conftest import Served
from tests.unit.clients.test_webhooks import EVENT, OTHER, SECRET

CLIENT = Path(__file__).parents[3] / "clients" / "go"
PROGRAM, RECEIVER = re.findall(r"```go\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL)
#: Go compiles its own library first.
RUN_S = 900
OPERATIONS = models_of(document()).operations
#: Posts what this process has signed, and the same with a letter changed. Go's clock is the system's own, under
#: faketime too.
POSTS = """package shop

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

func TestTime(t *testing.T) {
	fmt.Println("now:", time.Now().Unix())
}

func TestPosts(t *testing.T) {
	receiver, err := Receiver(os.Getenv("TOCSIN_OTHER"), os.Getenv("TOCSIN_SECRET"))
	if err != nil {
		t.Fatal(err)
	}
	body := os.Getenv("TOCSIN_BODY")
	for text, status := range map[string]int{body: 204, strings.Replace(body, "ann", "amy", 1): 401} {
		request := httptest.NewRequest(http.MethodPost, "/tocsin", strings.NewReader(text))
		for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
			request.Header.Set(name, os.Getenv(name))
		}
		shown := httptest.NewRecorder()
		receiver.ServeHTTP(shown, request)
		if shown.Code != status {
			t.Error(text, shown.Code)
		}
	}
}
"""


@pytest.fixture(scope="module")
def go() -> dict[str, str]:
    return golang.environment()


def ran(go: dict[str, str], folder: Path, *command: str, **more: str) -> str:
    shown = subprocess.run(
        command, cwd=folder, env={**go, **more}, capture_output=True, text=True, timeout=RUN_S, check=False
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    return shown.stdout


def of(served: Served) -> dict[str, str]:
    keys = served.keys
    return {"TOCSIN_URL": served.url, "TOCSIN_KEY": keys["shop"], "TOCSIN_ADMIN": keys["ops"]}


def module(folder: Path, go: dict[str, str]) -> Path:
    """A program's folder, which uses the client as its page says."""
    folder.mkdir()
    ran(go, folder, "go", "mod", "init", "shop")
    ran(go, folder, "go", "mod", "edit", "-require=tocsin@v0.0.0", f"-replace=tocsin={CLIENT}")
    return folder


def test_it_is_formatted_and_vetted(go: dict[str, str]) -> None:
    assert ran(go, CLIENT, "gofmt", "-l", ".") == ""
    ran(go, CLIENT, "go", "vet", "./...")


def test_its_own_tests_pass_and_none_is_skipped(go: dict[str, str], served: Served) -> None:
    shown = ran(go, CLIENT, "go", "test", "-count=1", "-v", "./...", **of(served))

    assert "--- PASS: TestTheGatewayTakesAnUpload" in shown
    assert "--- SKIP" not in shown


def test_the_example_of_its_page_runs(go: dict[str, str], served: Served, tmp_path: Path) -> None:
    folder = module(tmp_path / "program", go)
    (folder / "main.go").write_text(PROGRAM)

    assert "400 event_type" in ran(go, folder, "go", "run", ".", **of(served))
    assert ran(go, folder, "gofmt", "-l", ".") == ""


def test_its_pages_receiver_takes_what_a_hook_sends_and_nothing_else(go: dict[str, str], tmp_path: Path) -> None:
    folder = module(tmp_path / "receiver", go)
    (folder / "receiver.go").write_text(RECEIVER)
    (folder / "receiver_test.go").write_text(POSTS)
    ran(go, folder, "go", "test", "-c", "-o", "posts", ".")
    [now] = re.findall(r"now: (\d+)", ran(go, folder, "./posts", "-test.run=TestTime"))
    body, secrets = body_of(EVENT), {"TOCSIN_SECRET": SECRET, "TOCSIN_OTHER": OTHER}
    signed = signed_headers(SECRET, "e1", int(now), body)

    shown = ran(go, folder, "./posts", "-test.run=TestPosts", TOCSIN_BODY=body.decode(), **secrets, **signed)

    assert "notification.sent ann" in shown


def test_it_has_a_method_for_every_operation_that_services_call() -> None:
    text = (CLIENT / "operations.go").read_text()
    methods = re.findall(r"\nfunc \(c \*Client\) (\w+)\(", text)

    assert methods == [go_name(each.name) for each in OPERATIONS if has_method(each)]
    assert [each.path for each in OPERATIONS if is_for_services(each) and not has_method(each)] == [
        "/v1/users/{id}/inbox/stream"
    ]


def test_no_two_names_of_the_description_become_one() -> None:
    names = [go_name(each.name) for each in OPERATIONS]

    assert len(set(names)) == len(names)


def test_it_has_no_dependencies() -> None:
    assert "require" not in (CLIENT / "go.mod").read_text()
    assert not (CLIENT / "go.sum").exists()
