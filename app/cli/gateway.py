"""Calling the gateway from commands: of the settings, or of the system that ``tocsin dev`` runs here."""

import json
import os
import ssl
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from app.cli.output import Refused
from app.cli.run_by import run_by
from app.cli.settings import load_settings
from app.dev.state import read_state
from schemas.audit_log import RUN_BY

API_KEY_VARIABLE = "TOCSIN_API_KEY"
CERT_FILE_VARIABLE, KEY_FILE_VARIABLE = "TOCSIN_CLIENT_CERT_FILE", "TOCSIN_CLIENT_KEY_FILE"
_TIMEOUT_S = 30.0


class GatewayClient:
    """Calls with one API key. All that can go wrong is Refused, in the gateway's own words."""

    def __init__(self, url: str, api_key: str, tls: ssl.SSLContext | None = None) -> None:
        self._url = url
        self._api_key = api_key
        self._tls = tls

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str | None] | None = None,
        media: str = "application/json",
    ) -> Any:
        """The answer's JSON. ``body``: JSON values, or the bytes of another media type. Raises Refused."""
        status, answer = self.ask(method, path, body, query=query, media=media)
        if status >= 400:
            raise Refused(_in_words(status, answer))
        return answer

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str | None] | None = None,
        media: str = "application/json",
    ) -> tuple[int, Any]:
        """(status, JSON), whatever the status. ``body``: also in pieces. Raises Refused when the gateway can't be
        reached."""
        asked = urlencode({name: value for name, value in (query or {}).items() if value is not None})
        data = body if isinstance(body, bytes | Iterator) or body is None else json.dumps(body).encode()
        request = Request(f"{self._url}{path}{'?' + asked if asked else ''}", data=data, method=method)
        request.add_header("Authorization", f"Bearer {self._api_key}")
        request.add_header("Content-Type", media)
        request.add_header(RUN_BY, run_by())
        try:
            with urlopen(request, timeout=_TIMEOUT_S, context=self._tls) as response:
                return response.status, _json(response.read())
        except HTTPError as error:
            return error.code, _json(error.read())
        except (URLError, OSError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            raise Refused(f"the gateway at {self._url} can't be reached ({reason}): is it running?") from None


def connect(scope: str) -> GatewayClient:
    """A client whose key should have the scope: TOCSIN_API_KEY, else the running system's own. Raises Refused."""
    state = read_state()
    gateway = load_settings().gateway
    url = gateway.public_url or gateway.url
    key = os.environ.get(API_KEY_VARIABLE)
    if key is None and state is not None and url == state.gateway_url:
        key = state.api_keys["admin" if scope == "admin" else "demo"]
    if key is None:
        raise Refused(f"set {API_KEY_VARIABLE} to an API key with the scope {scope} (see `tocsin keys create --help`)")
    return GatewayClient(url, key, _client_certificate())


def _client_certificate() -> ssl.SSLContext | None:
    """What the command shows a gateway that asks for a certificate; None: nothing. Raises Refused."""
    cert_file, key_file = os.environ.get(CERT_FILE_VARIABLE), os.environ.get(KEY_FILE_VARIABLE)
    if not cert_file and not key_file:
        return None
    if not cert_file or not key_file:
        raise Refused(f"{CERT_FILE_VARIABLE} and {KEY_FILE_VARIABLE} are required together")
    context = ssl.create_default_context()
    try:
        context.load_cert_chain(cert_file, key_file, password="")  # asks nobody for one
    except (OSError, ssl.SSLError) as error:
        raise Refused(f"{CERT_FILE_VARIABLE}, {KEY_FILE_VARIABLE}: can't be used: {error}") from None
    return context


def segment(text: str) -> str:
    """A text as one part of a path."""
    return quote(text, safe="")


def json_object(text: str, option: str) -> dict[str, Any]:
    """What an option says as a JSON object. Raises Refused."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Refused(f"{option} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refused(f"{option} is not a JSON object")
    return value


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return {"detail": "the answer is not the gateway's"}


def _in_words(status: int, answer: Any) -> str:
    problem = answer if isinstance(answer, dict) else {}
    if problem.get("errors"):
        return "\n".join(_problem_line(error) for error in problem["errors"])
    field = f"{problem['field']}: " if problem.get("field") else ""
    return f"{field}{problem.get('detail', 'no reason given')} ({status})"


def _problem_line(error: Mapping[str, Any]) -> str:
    where = ": ".join(part for part in (f"line {error['line']}" if error.get("line") else "", error["path"]) if part)
    return f"{where + ': ' if where else ''}{error['message']}; {error['remedy']}"
