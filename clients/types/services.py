"""What the gateway serves that no service calls."""

from clients.types.models import Operation

#: And why; a path's beginning counts for all below it.
NOT_FOR_SERVICES = {
    "POST /v1/webhooks/": "vendors call it, and sign what they send",
    "POST /v1/notifications/batch": "the same as POST /v1/campaigns",
    "GET /v1/track/": "links in messages",
    "GET /v1/unsubscribe/": "links in messages",
    "POST /v1/unsubscribe/": "a mail program's one click",
    "GET /preferences/": "the hosted preference page, for browsers",
    "POST /preferences/": "the hosted preference page, for browsers",
    "GET /schemas/": "for those who build on the topics; /openapi.json isn't described either",
    "GET /asyncapi.": "for those who build on the topics",
    "GET /v1/users/{id}/inbox/ws": "for apps, which keep what it brings",
    "GET /v1/policy/versions": "operators read them in the console",
    "GET /web/": "a component for browsers",
}


def is_for_services(operation: Operation) -> bool:
    return not f"{operation.method} {operation.path}".startswith(tuple(NOT_FOR_SERVICES))
