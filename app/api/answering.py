"""How whatever went wrong is reported to the caller."""

import structlog
from aiohttp import web
from aiokafka.errors import KafkaError

from app.api.problems import Problem, later
from app.store.clickhouse import Unavailable
from app.store.owner_client import OwnerRefusedError, OwnerUnavailableError
from app.store.publisher import PublishError, TooLargeError

log = structlog.get_logger(__name__)


def problem_for(error: Exception, request: web.Request) -> Problem:
    """What nobody foresaw is logged and reveals nothing of itself."""
    match error:
        case Problem():
            return error
        case TooLargeError():
            return Problem(413, "its record would be larger than Kafka accepts")
        case PublishError():
            log.warning("not accepted", path=pattern_of(request), reason=str(error))
            return later(
                "the log hasn't acknowledged it: it may or may not be there; the same key makes it safe to repeat"
            )
        case OwnerRefusedError():
            return Problem(400, error.reason, error.field)
        case OwnerUnavailableError() | Unavailable():
            log.warning("not answered", path=pattern_of(request), reason=str(error))
            return later(str(error))
        case KafkaError() | TimeoutError():
            log.warning("not answered", path=pattern_of(request), reason=type(error).__name__)
            return later("the log doesn't answer")
        case _:
            log.exception("a call failed", path=pattern_of(request), exc_info=error)
            return Problem(500, "the gateway failed; it has been logged")


def pattern_of(request: web.Request) -> str:
    """The route's path, which unlike the request's own names nobody."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"


def has_left(request: web.BaseRequest) -> bool:
    """Whether the caller's connection is gone, or going."""
    return request.transport is None or request.transport.is_closing()
