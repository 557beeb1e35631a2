"""How firebase-admin's messages travel: each in one request, with an access token fetched beside the event loop."""

import asyncio
import calendar
import logging
import time
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path

import aiohttp
import httpx
import requests
from firebase_admin import _http_client, credentials
from google.auth.transport.requests import Request

from app.config.providers import Fcm as Settings
from app.providers.wire import CONNECT_S, Answer, tls_context

log = logging.getLogger(__name__)

TOKEN_TIMEOUT_S = 10.0
#: Google's tokens live an hour; for endpoints that don't say.
USUAL_LIFE_S = 3600.0


class AccessToken:
    """The OAuth token of a service account, fetched in a thread ahead of its end; all callers share one fetch."""

    #: Renewed after this part of its life.
    RENEW_AFTER = 0.8

    def __init__(self, certificate: credentials.Certificate, ca_file: Path | None) -> None:
        session = requests.Session()
        session.trust_env = False  # else REQUESTS_CA_BUNDLE would win over ca_file
        session.verify = str(ca_file) if ca_file else True
        self._credential = certificate.get_credential()
        self._request = partial(Request(session=session), timeout=(CONNECT_S, TOKEN_TIMEOUT_S))
        self._session = session
        self._fetch: asyncio.Task[None] | None = None
        self._renew_at = self._ends_at = 0.0
        self.value = ""

    async def ready(self) -> None:
        """Returns when ``value`` can be used.

        Raises:
            google.auth.exceptions.GoogleAuthError: there is none, and none could be had.
        """
        now = time.time()
        if now >= self._renew_at and self._fetch is None:
            self._fetch = asyncio.create_task(asyncio.to_thread(self._refresh))
            self._fetch.add_done_callback(self._fetched)
        if now >= self._ends_at and self._fetch is not None:
            await asyncio.shield(self._fetch)

    def forget(self) -> None:
        """Google refused the token: fetch another before the next call."""
        self._renew_at = self._ends_at = 0.0

    def close(self) -> None:
        if self._fetch is not None:
            self._fetch.cancel()
        self._session.close()

    def _refresh(self) -> None:
        self._credential.refresh(self._request)
        now, expiry = time.time(), self._credential.expiry
        life_s = calendar.timegm(expiry.timetuple()) - now if expiry else USUAL_LIFE_S
        self._renew_at, self._ends_at = now + life_s * self.RENEW_AFTER, now + life_s
        self.value = self._credential.token

    def _fetched(self, fetch: asyncio.Task[None]) -> None:
        self._fetch = None
        if not fetch.cancelled() and (error := fetch.exception()) is not None:
            log.warning("FCM's access token could not be renewed: %s", type(error).__name__)


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Carries httpx' requests by aiohttp, each on a connection of its own: one that is lost or silent puts one message
    in doubt. (httpx' own HTTP/1.1 pool looks at all its connections for each request, and its HTTP/2 shares one.)"""

    def __init__(self, settings: Settings) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=settings.concurrency, ssl=tls_context(settings.ca_file)),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            response_class=Answer,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Raises httpx.ConnectError where nothing was sent, httpx.ReadError where the answer was lost."""
        url, headers = str(request.url), list(request.headers.multi_items())
        try:
            async with self._session.request(
                request.method, url, headers=headers, data=await request.aread(), allow_redirects=False
            ) as answer:
                return httpx.Response(answer.status, headers=answer.headers, content=await answer.read())
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise httpx.ConnectError(type(error).__name__, request=request) from error
        except aiohttp.ClientError as error:
            raise httpx.ReadError(type(error).__name__, request=request) from error

    async def aclose(self) -> None:
        await self._session.close()


class OneRequest(_http_client.HttpxAsyncClient):  # type: ignore[misc]  # firebase_admin is not followed by mypy here
    """firebase-admin's HTTP client without its retries and its blocking token refresh."""

    def __init__(self, token: AccessToken, settings: Settings) -> None:
        self._token = token
        self._base_url = ""
        self._timeout = None  # the transport's and the caller's limits hold
        self._async_client = httpx.AsyncClient(
            transport=AiohttpTransport(settings),
            trust_env=False,
            headers=_http_client.METRICS_HEADERS,
            auth=self._authorize,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        )

    def _authorize(self, request: httpx.Request) -> httpx.Request:
        request.headers["Authorization"] = f"Bearer {self._token.value}"
        return request
