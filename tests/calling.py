"""What tests that call the gateway share: credentials, and one call."""

import hashlib
import io
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import jwt
from yarl import URL

JWT_SECRET = "a-secret-that-is-long-enough-for-hs256-signatures"


def key_hash(key: str) -> str:
    """As ``auth.api_keys`` has it."""
    return hashlib.sha256(key.encode()).hexdigest()


def user_token(user_id: str, **claims: Any) -> str:
    return jwt.encode({"sub": user_id, "exp": time.time() + 3600, **claims}, JWT_SECRET, algorithm="HS256")


def bearer(credentials: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credentials}"}


@asynccontextmanager
async def called(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    body: bytes | None,
    headers: Mapping[str, str],
    query: Mapping[str, str] | None = None,
) -> AsyncIterator[aiohttp.ClientResponse]:
    """The answer. Path and query go as they are; header names may have _ for -."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    data = None if body is None else io.BytesIO(body)
    target = URL(url, encoded=True)
    asked = session.request(method, target, data=data, params=query, headers=given, allow_redirects=False)
    async with asked as response:
        yield response
