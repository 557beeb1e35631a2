"""Errors as RFC 9457 problem details, with the field that is wrong."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from app.api.refusals import Limit, reason_of
from schemas.decode import Invalid, Malformed, TooLarge

_CONTENT_TYPE = "application/problem+json"


class Problem(Exception):
    """An answer that says what was wrong and, where one is to blame, with which field. ``limit``: which one was
    exceeded, for the metric."""

    def __init__(
        self,
        status: int,
        detail: str,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
        limit: Limit | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.field = field
        self.headers = dict(headers or {})
        self.more = dict(more or {})
        self.reason = reason_of(status, limit)

    def document(self) -> dict[str, Any]:
        """The members of the problem, as RFC 9457 names them."""
        members: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.field is not None:
            members["field"] = self.field
        return members | self.more

    def response(self, made_as: type[web.Response] = web.Response) -> web.Response:
        return made_as(
            status=self.status,
            body=msgspec.json.encode(_shown(self.document())),
            content_type=_CONTENT_TYPE,
            headers=self.headers,
        )


def _shown(part: Any) -> Any:
    """What can be written as JSON: half a surrogate pair, from whatever was sent, is shown escaped."""
    match part:
        case str():
            return part.encode(errors="backslashreplace").decode()
        case dict():
            return {_shown(name): _shown(value) for name, value in part.items()}
        case list():
            return [_shown(value) for value in part]
        case _:
            return part


def problem_of(invalid: Invalid) -> Problem:
    """413 where it was too much, 400 where it couldn't be decoded, 422 where it was read and a rule refuses it."""
    decoded = invalid.__cause__ is None and not isinstance(invalid, Malformed)
    return Problem(
        413 if isinstance(invalid, TooLarge) else 422 if decoded else 400, invalid.reason, invalid.field or "body"
    )


#: What the server undoes of a body before anybody reads it.
CODINGS = frozenset(("gzip", "deflate"))


def check_coding(given: Sequence[str]) -> None:
    """Raises Problem 415 for a body that nobody undoes the coding of. ``given``: the values of Content-Encoding."""
    codings = [coding.strip().lower() for value in given for coding in value.split(",")]
    named = [coding for coding in codings if coding not in ("", "identity")]
    if len(named) > 1 or not CODINGS.issuperset(named):
        raise bad_coding()


def bad_coding() -> Problem:
    detail = "the body's coding isn't known here: send gzip, deflate, or no coding"
    return Problem(415, detail, "Content-Encoding", {"Accept-Encoding": "gzip, deflate"})


def unknown(what: str, field: str | None = None) -> Problem:
    return Problem(404, f"{what} is not known", field)


def later(detail: str, retry_after_s: int = 1) -> Problem:
    """503: nothing was decided; the same call may succeed in a while."""
    return Problem(503, detail, headers={"Retry-After": str(retry_after_s)})
