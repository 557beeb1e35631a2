"""What the clients of Amazon's services have in common: aiobotocore with its hidden retries turned off, and what its
errors mean."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.httpsession import AIOHTTPSession
from aiobotocore.session import get_session
from botocore import exceptions as boto

from app.config.providers import Ses, Sns
from app.domain.outcome import Outcome, OutcomeKind
from app.providers.wire import CONNECT_S, Answer, dropped, kind_of_status, lost, not_sent, retry_after_ms, tls_context

#: The errors that all services have (AWS, "Common errors"; those of signatures by their names in both protocols).
COMMON_CODES: dict[str, OutcomeKind] = {
    "Throttling": "throttle",
    "ThrottlingException": "throttle",
    "ValidationException": "drop",
    "AccessDeniedException": "config",
    "ExpiredTokenException": "config",
    "IncompleteSignature": "config",
    "InvalidClientTokenId": "config",
    "InvalidSignatureException": "config",
    "MissingAuthenticationTokenException": "config",
    "RequestExpired": "config",
    "SignatureDoesNotMatch": "config",
    "UnrecognizedClientException": "config",
}


def client(service: str, settings: Ses | Sns, answer: type[Answer]) -> Any:
    """A context manager of the service's client. ``answer``: leaves of each answer only what botocore can read, on
    whatever else may stand there it raises any kind of error.

    Raises ValueError: the authorities can't be read.
    """
    tls_context(settings.ca_file)
    config = AioConfig(
        http_session_cls=_session_of(answer),
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=CONNECT_S,
        read_timeout=settings.timeout,
        max_pool_connections=settings.concurrency,
        proxies={},
    )
    return get_session().create_client(
        service,
        region_name=settings.region,
        endpoint_url=settings.endpoint_url,
        verify=str(settings.ca_file) if settings.ca_file else None,
        config=config,
    )


def _session_of(answer: type[Answer]) -> type[AIOHTTPSession]:
    class Session(AIOHTTPSession):  # type: ignore[misc]  # aiobotocore is not followed by mypy here
        async def _get_session(self, proxy_url: str | None) -> aiohttp.ClientSession:
            session: aiohttp.ClientSession = await super()._get_session(proxy_url)
            session._response_class = answer
            session._cookie_jar = aiohttp.DummyCookieJar()
            return session

    return Session


@dataclass(frozen=True, slots=True)
class Refusal:
    """What AWS answered in place of what was asked. ``text``: in lower case. ``wait_ms``: None where it names none."""

    code: str
    text: str
    kind: OutcomeKind
    wait_ms: int | None


def refusal_of(error: boto.ClientError, codes: Mapping[str, OutcomeKind], now_s: float) -> Refusal:
    """``codes``: those of the service, in our words."""
    told, answer = error.response.get("Error", {}), error.response.get("ResponseMetadata", {})
    status = answer.get("HTTPStatusCode", 0)
    code = str(told.get("Code") or status)
    kind = codes.get(code) or kind_of_status(status)
    wait_ms = retry_after_ms(answer.get("HTTPHeaders", {}).get("retry-after"), now_s)
    return Refusal(code, str(told.get("Message", "")).lower(), kind, wait_ms)


def outcome_without_answer(error: Exception) -> Outcome:
    """What a call means that AWS didn't answer. Raises what is neither the network's nor AWS'."""
    match error:
        case boto.NoCredentialsError() | boto.PartialCredentialsError() | boto.CredentialRetrievalError():
            return Outcome("config", code=type(error).__name__)
        case boto.ParamValidationError():
            return dropped("ParamValidationError")
        case boto.ConnectTimeoutError() | boto.SSLError() | boto.ProxyConnectionError():
            return not_sent(type(error).__name__)
        case boto.EndpointConnectionError():
            # botocore's word for any broken connection; only aiohttp's own error says whether one ever stood.
            inner = error.kwargs.get("error")
            if isinstance(inner, aiohttp.ClientConnectorError | socket.gaierror):
                return not_sent(type(inner).__name__)
            return lost("connection_lost", type(inner).__name__)
        case boto.ReadTimeoutError() | TimeoutError():
            return lost("timeout")
        case boto.HTTPClientError() | boto.ConnectionError() | boto.BotoCoreError():
            return lost("connection_lost", type(error).__name__)
        case _:
            raise error
