"""Takes one request through: the vendor judges it, a fault may befall it, it is written down, it is answered."""

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import replace

import msgspec

from app.sandbox.exchange import Caller, Judged, Moment, Reply, Request, Vendor
from app.sandbox.faults import PROXY_CODES, Faults, InForce, Mishap
from app.sandbox.journal import Journal
from app.sandbox.records import Accepted, Call, Verdict

_VERDICTS: dict[str, Verdict] = {
    "error": "refused",
    "answer": "refused",
    "hang": "hung",
    "reset": "reset",
    "reset_stream": "reset",
    "refuse_stream": "reset",
}


class Desk:
    """Where all protocols bring their requests. ``clock`` tells Unix milliseconds; ``accepted`` is told of each message
    that was accepted."""

    def __init__(
        self,
        journal: Journal,
        faults: Faults,
        clock: Callable[[], int],
        accepted: Callable[[Accepted], None],
    ) -> None:
        self._accepted = accepted
        self._journal = journal
        self._faults = faults
        self._clock = clock

    def take(self, vendor: Vendor, request: Request, caller: Caller) -> None:
        """Returns at once; the caller is told when the lines are written, or never, as the fault would have it."""
        at = Moment(self._clock(), uuid.uuid4())
        judged = vendor.judge(request, at)
        mishap = Mishap()
        if judged.code is None:
            mishap = self._faults.befall(vendor.name, judged.operation, judged.address)
        self._write_down(vendor, judged, mishap, caller, at.ms)
        answer = _answer(vendor, judged, mishap.fault, caller)
        if mishap.delay_ms:
            prompt = answer
            answer = lambda: _later(mishap.delay_ms, prompt)  # noqa: E731  (a wait around the answer, no new thing)
        self._journal.when_written(answer)

    def _write_down(self, vendor: Vendor, judged: Judged, mishap: Mishap, caller: Caller, now_ms: int) -> None:
        fault = mishap.fault
        action = fault.rule.action if fault else None
        taken: Verdict = "accepted" if judged.shown is not None else "answered"
        outcome = "refused" if judged.code else _VERDICTS.get(action or "", taken)
        self._journal.add_call(
            Call(
                seq=self._journal.calls.last_seq + 1,
                at_ms=now_ms,
                provider=vendor.name,
                operation=judged.operation,
                outcome=outcome,
                code=judged.code or (_code(vendor, fault) if fault else None),
                fault_id=fault.id if fault else None,
                fault=action,
                delay_ms=mishap.delay_ms or None,
                swept=caller.doom() if action in ("reset", "accept_and_reset") and not mishap.delay_ms else None,
                address=judged.address,
                send_id=judged.send_id,
                attempt=judged.attempt,
            )
        )
        if outcome == "accepted" and judged.shown is not None:
            message = Accepted(
                seq=self._journal.accepted.last_seq + 1,
                at_ms=now_ms,
                provider=vendor.name,
                provider_message_id=judged.provider_message_id or "",
                send_id=judged.send_id,
                notification_id=judged.notification_id,
                address=judged.address or "",
                attempt=judged.attempt,
                **msgspec.structs.asdict(judged.shown),
            )
            self._journal.add_accepted(message)
            self._accepted(message)


def _later(delay_ms: int, answer: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(delay_ms / 1000, answer)


def _answer(vendor: Vendor, judged: Judged, fault: InForce | None, caller: Caller) -> Callable[[], None]:
    """What to do once it is written down, as it is for callers that are left waiting for ever, too."""
    if fault is None:
        return lambda: caller.reply(judged.reply)
    if fault.rule.action in ("hang", "accept_and_hang"):
        return lambda: None
    return lambda: _carry_out(vendor, judged, fault, caller)


def _carry_out(vendor: Vendor, judged: Judged, fault: InForce, caller: Caller) -> None:
    match fault.rule.action:
        case "reset" | "accept_and_reset":
            caller.reset()
        case "reset_stream" | "accept_and_reset_stream" | "refuse_stream":
            caller.reset_stream(refused=fault.rule.action == "refuse_stream")
        case "goaway":
            caller.say_goaway()
            caller.reply(judged.reply)
        case "max_streams":
            caller.limit_streams(fault.rule.streams or 1)
            caller.reply(judged.reply)
        case "answer":
            assert fault.rule.answer is not None
            caller.reply(fault.rule.answer.reply(fault.rule.bytes_per_s))
        case "drip":
            caller.reply(replace(judged.reply, bytes_per_s=fault.rule.bytes_per_s))
        case _:
            caller.reply(_failure(vendor, judged, fault))


def _code(vendor: Vendor, fault: InForce) -> str | None:
    """What a refusal is called; None: the fault refuses nothing."""
    if fault.rule.answer is not None:
        return str(fault.rule.answer.status)
    return fault.rule.code or vendor.outage if fault.rule.action == "error" else None


def _failure(vendor: Vendor, judged: Judged, fault: InForce) -> Reply:
    code = fault.rule.code or vendor.outage
    if code in PROXY_CODES:
        page = b"<html><body><h1>The proxy could not reach the server</h1></body></html>"
        reply = Reply(int(code), page, {"content-type": "text/html"})
    else:
        reply = vendor.failure(code, judged, fault.since_ms)
    if fault.rule.retry_after is None:
        return reply
    return Reply(reply.status, reply.body, {**reply.headers, "retry-after": str(fault.rule.retry_after)})
