"""Tocsin's client for Python: notifications, campaigns, users and more, over the gateway's HTTP API."""

from tocsin.client.awaiting import AsyncBatcher, AsyncTocsin
from tocsin.client.batching import Limits, Result
from tocsin.client.blocking import Batcher, Tocsin
from tocsin.client.errors import (
    BadAnswer,
    Conflict,
    Forbidden,
    Malformed,
    NotFound,
    ProblemError,
    Refused,
    TocsinError,
    TooLarge,
    TooMany,
    Unauthorized,
    Unavailable,
    Unreachable,
    WebhookError,
)
from tocsin.client.retrying import RateLimit, Retrying, backoff
from tocsin.client.version import VERSION
from tocsin.client.webhooks import WebhookEvent, verify_webhook

__version__ = VERSION

__all__ = [
    "AsyncBatcher",
    "AsyncTocsin",
    "BadAnswer",
    "Batcher",
    "Conflict",
    "Forbidden",
    "Limits",
    "Malformed",
    "NotFound",
    "ProblemError",
    "RateLimit",
    "Refused",
    "Result",
    "Retrying",
    "Tocsin",
    "TocsinError",
    "TooLarge",
    "TooMany",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "WebhookError",
    "WebhookEvent",
    "backoff",
    "verify_webhook",
]
