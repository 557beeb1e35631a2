"""Verifying an address: a user asks for a code to the address that they claim, and gives it back.

What is asked goes to the user's router by Tocsin's own topic, and the answer is read from there: any gateway answers,
and none remembers anything but how often it was asked (``code_limits.py``).
"""

import asyncio
from collections.abc import Callable
from typing import Any, Literal

from aiohttp import web
from msgspec import Struct

from app.api.call import Call, answer, no_content
from app.api.callers import OWN
from app.api.commands import user_of
from app.api.problems import Problem, later
from app.api.routes import Route
from app.api.state import read
from app.domain.codes import is_code, mark_of, proof_of
from app.domain.verification import CODE_MS
from schemas.decode import Reader
from schemas.instants import rfc3339
from schemas.topics import VERIFICATIONS
from schemas.verifications import CodeCheck, CodeRequest, VerifiedChannel, encode_verification
from schemas.words import Channel

#: The router's answer is waited for so long, and looked for so often.
_WAIT_S = 2.0
_LOOK_EVERY_S = 0.03


class VerifyBody(Struct, frozen=True):
    """Without ``code`` one is sent; with it, it is checked."""

    channel: Channel
    code: str | None = None


class CodeSent(Struct, frozen=True):
    """``notification_id``: of the message. ``expires_at``: until when its code is good."""

    notification_id: str
    expires_at: str
    status: Literal["accepted"] = "accepted"


_read_body: Reader[VerifyBody] = Reader(VerifyBody)


async def post(call: Call) -> web.Response:
    body = await call.read(_read_body)
    if body.channel not in ("email", "sms"):
        raise Problem(422, "an address is verified by email or sms", "channel")
    seen = await _seen(call, body.channel)
    if not seen["address"]:
        kind = "mail address" if body.channel == "email" else "phone number"
        raise Problem(422, f"the user has no {kind}: set it in the profile first", "channel")
    if seen["verified"]:
        return no_content()
    if body.code is None:
        return await _send(call, body.channel, seen)
    return await _check(call, body.channel, body.code, seen)


async def _send(call: Call, channel: VerifiedChannel, seen: dict[str, Any]) -> web.Response:
    codes, user_id, name = call.deps.codes, user_of(call), call.deps.new_id()
    if seen["next_ms"] is not None:
        raise _limited(call, seen["next_ms"])
    codes.limits.count(user_id, channel, seen["address"])
    mark = mark_of(codes.secret, user_id, channel, seen["address"], name)
    asked = CodeRequest(id=name, user_id=user_id, channel=channel, address=mark)
    answered = await _ask(call, asked, lambda seen: seen["outcome"] is not None)
    match answered["outcome"]:
        case "sent":
            return answer(CodeSent(name, rfc3339(call.deps.clock() + CODE_MS)), 202)
        case "verified":
            return no_content()
        case "limited":
            raise _limited(call, answered["number"])
        case "suppression_list":
            detail = "nothing is sent to this address: a message bounced, or somebody objected"
            raise Problem(422, detail, "channel", limit="code_suppressed")
        case "no_provider":
            raise Problem(422, "no provider is set up for this channel", "channel", limit="code_no_provider")
        case _:
            raise later("the address has changed meanwhile: try again")


async def _check(call: Call, channel: VerifiedChannel, code: str, seen: dict[str, Any]) -> web.Response:
    if not is_code(code):
        raise Problem(422, "is not a code of six digits", "code", limit="code_wrong")
    if not seen["pending"]:
        raise _void()
    user_id, name = user_of(call), call.deps.new_id()
    proof = proof_of(call.deps.codes.secret, user_id, channel, code, name)
    asked = CodeCheck(id=name, user_id=user_id, channel=channel, proof=proof)
    answered = await _ask(call, asked, lambda seen: seen["verified"] or seen["outcome"] in ("wrong", "void"))
    if answered["outcome"] == "wrong":
        left = answered["number"]
        detail = f"is wrong; {left} tries are left" if left else "is wrong, and no tries are left: ask for a new code"
        raise Problem(422, detail, "code", more={"left": left}, limit="code_wrong")
    if answered["outcome"] == "void":
        raise _void()
    return no_content()


async def _ask(call: Call, asked: CodeRequest | CodeCheck, is_over: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Writes the record, and waits for what the router made of it. Raises Problem 503."""
    await call.deps.publisher.publish(VERIFICATIONS, asked.user_id.encode(), encode_verification(asked))
    seen: dict[str, Any] = {"outcome": None, "verified": False}
    try:
        async with asyncio.timeout(_WAIT_S):
            while not is_over(seen):
                await asyncio.sleep(_LOOK_EVERY_S)
                seen = await _seen(call, asked.channel, asked.id)
    except TimeoutError:
        pass
    if seen["outcome"] is None and not is_over(seen):
        raise later("the router hasn't answered yet: try again")
    return seen


async def _seen(call: Call, channel: VerifiedChannel, name: str = "") -> dict[str, Any]:
    seen: dict[str, Any] | None = await read(call, "verification", channel=channel, id=name)
    if seen is None:
        raise later("the router of this user is of an earlier version")
    return seen


def _limited(call: Call, next_ms: int) -> Problem:
    seconds = max(1, -(-(next_ms - call.deps.clock()) // 1000))
    again = {"Retry-After": str(seconds)}
    detail = "this user has requested too many codes lately"
    return Problem(429, detail, "channel", again, limit="codes_of_user")


def _void() -> Problem:
    detail = "no code can be checked now: it is too late, or the address has changed; ask for one"
    return Problem(422, detail, "code", limit="code_void")


ROUTES = (
    Route(
        "POST",
        "/v1/users/{id}/profile/verify",
        post,
        OWN,
        "Send a code to the address of a channel, or check it: then the address is verified",
        {202: CodeSent, 204: None},
        body=VerifyBody,
    ),
)
