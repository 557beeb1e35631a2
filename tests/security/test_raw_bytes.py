"""Whatever bytes come over a connection: a problem or nothing, never a 5xx, and no trace in the log."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from app.api import call
from app.api.connections import ConnectionLimits
from tests.calling import user_token
from tests.security.conftest import Door, Opening, api_key, opened

SHOP = "shop." + "s" * 43
BODY = b'{"user_id": "ada", "event_type": "a.b", "content": {"title": "t", "body": "b"}}'
PACKED = gzip.compress(BODY)


def post(
    *headers: bytes, body: bytes = b"", credential: str | None = SHOP, path: bytes = b"/v1/notifications"
) -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: a", *headers]
    if credential is not None:
        lines.append(b"Authorization: Bearer " + credential.encode())
    return b"\r\n".join([*lines, b"", b""]) + body


def with_length(encoding: bytes, body: bytes) -> tuple[bytes, ...]:
    return (b"Content-Encoding: " + encoding, b"Content-Length: %d" % len(body))


CODED = {
    "br that is none": (b"br", b"\xff" * 20),
    "br of an unknown kind": (b"br", BODY),
    "zstd that is none": (b"zstd", BODY),
    "unknown coding": (b"snappy", BODY),
    "no coding": (b"", BODY),
    "two codings": (b"gzip, gzip", gzip.compress(PACKED)),
    "plain called gzip": (b"gzip", BODY),
    "half a gzip": (b"gzip", PACKED[: len(PACKED) // 2]),
    "spoilt gzip": (b"gzip", PACKED[:12] + b"\xff" * 20),
    "gzip and more": (b"gzip", PACKED + b"more"),
    "gzip with a wrong sum": (b"gzip", PACKED[:-8] + b"\0" * 8),
    "plain called deflate": (b"deflate", BODY),
    "half a deflate": (b"deflate", zlib.compress(BODY)[:20]),
    "spoilt deflate": (b"deflate", b"\xff" * 10),
    "bomb": (b"deflate", zlib.compress(b"[" * (8 << 20))),
}
CHUNKED = {
    "size that is none": b"x\r\n",
    "negative size": b"-1\r\n",
    "size with a sign": b"+1\r\na\r\n0\r\n\r\n",
    "size in capitals with 0x": b"0x1\r\na\r\n0\r\n\r\n",
    "size without end": b"1" * 20_000,
    "huge size": b"f" * 100 + b"\r\n",
    "no line after a chunk": b"1\r\nabc",
    "bare line feeds": b"1\na\n0\n\n",
    "extension": b"1;a=\x00\r\na\r\n0\r\n\r\n",
    "long extension": b"1;" + b"a" * 20_000 + b"\r\na\r\n0\r\n\r\n",
    "spoilt trailer": b"0\r\n: :\x00\r\n\r\n",
    "long trailer": b"0\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    "many trailers": b"0\r\n" + b"X: a\r\n" * 1000 + b"\r\n",
}
HEADS = {
    "length that is none": post(b"Content-Length: x"),
    "negative length": post(b"Content-Length: -1"),
    "length with a sign": post(b"Content-Length: +1"),
    "length of 5,000 digits": post(b"Content-Length: " + b"1" * 5000),
    "two lengths": post(b"Content-Length: 1", b"Content-Length: 2"),
    "chunked twice": post(b"Transfer-Encoding: chunked, chunked"),
    "unknown transfer": post(b"Transfer-Encoding: gzip"),
    "upgrade": post(b"Connection: upgrade", b"Upgrade: websocket"),
    "upgrade to HTTP/2": post(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: \xff"),
    "spoilt expect": post(b"Expect: \xff"),
    "spoilt type": post(b"Content-Type: \xff; charset=\xff", b"Content-Length: 2", body=b"{}"),
    "unknown charset": post(b"Content-Type: text/plain; charset=nosuch", b"Content-Length: 2", body=b"{}"),
    "spoilt accept": post(b"Accept: \xff;q=x", b"Content-Length: 2", body=b"{}"),
    "spoilt cookie": post(b"Cookie: \xff=\xff; =; a", b"Content-Length: 2", body=b"{}"),
    "spoilt range": post(b"Range: bytes=x", b"If-Modified-Since: \xff", b"Content-Length: 2", body=b"{}"),
    "spoilt origin": post(b"Origin: \xff", b"Content-Length: 2", body=b"{}"),
    "spoilt key": post(b"Idempotency-Key: \xff", b"Content-Length: %d" % len(BODY), body=BODY),
    "empty host": b"GET /openapi.json HTTP/1.1\r\nHost:\r\n\r\n",
    "no host": b"GET /openapi.json HTTP/1.1\r\n\r\n",
    "spoilt host": b"GET /openapi.json HTTP/1.1\r\nHost: [::1\r\n\r\n",
    "host with a port that is none": b"GET /openapi.json HTTP/1.1\r\nHost: a:99999999\r\n\r\n",
    "absolute": b"GET http://[::1/openapi.json HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute with a port that is none": b"GET http://a:99999999/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "authority": b"CONNECT a:99999999 HTTP/1.1\r\nHost: a\r\n\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "no path": b"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
    "spoilt path": b"GET /\xff%ff%zz?%ff=\xff#\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "two slashes": b"GET //[ HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.0": b"GET /openapi.json HTTP/1.0\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "lower case": b"get /openapi.json http/1.1\r\nHost: a\r\n\r\n",
    "unknown method": b"BREW /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n",
    "head": b"HEAD /v1/notifications HTTP/1.1\r\nHost: a\r\n\r\n",
    "null": b"\0" * 100,
}
RAW: dict[str, dict[str, bytes]] = {
    "bodies in a coding": {
        f"{name}, {who}": post(*with_length(*of), body=of[1], credential=by, path=path)
        for name, of in CODED.items()
        for who, by, path in (
            ("shop", SHOP, b"/v1/notifications"),
            ("nobody", None, b"/v1/notifications"),
            ("shop, nowhere", SHOP, b"/nowhere"),
        )
    },
    "bodies in chunks": {
        f"{name}, {who}": post(b"Transfer-Encoding: chunked", body=body, credential=by)
        for name, body in CHUNKED.items()
        for who, by in (("shop", SHOP), ("nobody", None))
    },
    "heads": HEADS,
}
#: What the parser waits for more of, or passes over.
MAY_STAY_SILENT = ("null", "HTTP/2")


#: Soon over, as what was sent is all that comes.
LIMITS = ConnectionLimits(header_s=0.2, idle_s=0.2)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call, "_BODY_IDLE_S", 0.2)


async def answers(door: Door, sent: bytes) -> list[tuple[int, str, bytes]]:
    """Status, type and body of every answer, until the other side ends it."""
    async with asyncio.timeout(60), door.raw() as (reader, writer):
        try:
            writer.write(sent)
            read = await reader.read()
        except ConnectionError:
            return []
    return list(_parted(read, is_head=sent.startswith(b"HEAD")))


def _parted(read: bytes, *, is_head: bool) -> Iterator[tuple[int, str, bytes]]:
    while read:
        head, _, read = read.partition(b"\r\n\r\n")
        start, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        assert "server" not in headers
        length = 0 if is_head else int(headers.get("content-length", 0))
        yield int(start.split()[1]), headers.get("content-type", ""), read[:length]
        read = read[length:]


def judge(answered: list[tuple[int, str, bytes]]) -> None:
    for status, kind, body in answered:
        assert status < 500, body
        if status >= 400:
            assert kind == "application/problem+json"
            assert not body or json.loads(body)["status"] == status


def no_trace(caplog: pytest.LogCaptureFixture, logged: list[structlog.typing.EventDict]) -> None:
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR", "CRITICAL")] == []
    assert logged == []


@pytest.mark.parametrize("group", RAW)
async def test_bytes_that_are_no_good_request_get_a_problem_and_leave_no_trace(
    open_door: Opening, group: str, caplog: pytest.LogCaptureFixture
) -> None:
    with structlog.testing.capture_logs() as logged:
        async with open_door(api_key(SHOP), limits=LIMITS) as door:
            answered = await asyncio.gather(*(answers(door, sent) for sent in RAW[group].values()))
            after = await answers(door, b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n")

    for what, said in zip(RAW[group], answered, strict=True):
        assert said or what in MAY_STAY_SILENT, what
        judge(said)
    assert [status for status, _, _ in after] == [200]
    no_trace(caplog, logged)


UNKNOWN_CODINGS = [
    *(b"br", b"zstd", b"snappy", b"compress", b"x-gzip", b"gzip, gzip", b"gzip, br", b"deflate,gzip", b"aes128gcm"),
    *(b"utf-8", b"*", b"gzip;q=1", b"\xff"),
]


@pytest.mark.parametrize("coding", UNKNOWN_CODINGS, ids=repr)
async def test_a_coding_that_cannot_be_read_is_named_and_never_ignored(open_door: Opening, coding: bytes) -> None:
    async with open_door(api_key(SHOP), limits=LIMITS) as door:
        [(status, _, body)] = await answers(door, post(*with_length(coding, BODY), body=BODY))

    assert (status, json.loads(body)["field"]) == (415, "Content-Encoding")


async def test_two_headers_of_a_coding_are_two_codings(open_door: Opening) -> None:
    twice = post(b"Content-Encoding: gzip", *with_length(b"gzip", PACKED), body=PACKED)
    async with open_door(api_key(SHOP), limits=LIMITS) as door:
        assert [status for status, _, _ in await answers(door, twice)] == [415]


@pytest.mark.parametrize("coding", [b"", b"identity", b"IDENTITY", b" identity ,"])
async def test_no_coding_may_be_named(open_door: Opening, coding: bytes) -> None:
    async with open_door(api_key(SHOP), limits=LIMITS) as door:
        assert [status for status, _, _ in await answers(door, post(*with_length(coding, BODY), body=BODY))] == [202]


GOOD = [
    post(b"Content-Length: %d" % len(BODY), body=BODY),
    post(*with_length(b"gzip", PACKED), body=PACKED),
    post(b"Transfer-Encoding: chunked", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)),
    post(
        b"Transfer-Encoding: chunked", b"Content-Encoding: gzip", body=b"%x\r\n%b\r\n0\r\n\r\n" % (len(PACKED), PACKED)
    ),
    b"GET /openapi.json HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
    b"GET /v1/users/ada/devices?limit=1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "
    + user_token("ada").encode()
    + b"\r\n\r\n",
]


@st.composite
def spoilt(draw: st.DrawFn) -> bytes:
    """Good requests, one after the other, with some bytes changed, added, dropped or repeated."""
    sent = bytearray(b"".join(draw(st.lists(st.sampled_from(GOOD), min_size=1, max_size=3))))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(sent)))
        end = min(len(sent), start + draw(st.integers(0, 20)))
        again = bytes(sent[start:end]) * 2
        pieces = st.sampled_from([b"", b"\r\n", b"\n", b"\0", b"\xff", b" ", b":", b"0\r\n\r\n", again])
        piece = draw(pieces | st.binary(max_size=8))
        sent[start:end] = piece
    return bytes(sent)


@given(st.lists(spoilt(), min_size=10, max_size=40))
@example([b"\r\n" * 10])
@settings(max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_no_bytes_make_the_door_fail(caplog: pytest.LogCaptureFixture, written: list[bytes]) -> None:
    async def send() -> None:
        async with opened(api_key(SHOP), limits=LIMITS) as door:
            for answered in await asyncio.gather(*(answers(door, sent) for sent in written)):
                judge(answered)

    caplog.clear()
    with structlog.testing.capture_logs() as logged:
        asyncio.run(send())
    no_trace(caplog, logged)
