"""Reading the token of a public link: whoever has one may do what it is for, and nothing else."""

from typing import TypeVar

from app.api.call import Call
from app.api.problems import unknown
from app.domain.links import OfSend, Preferences
from app.domain.links.tokens import NamedT, Use

PageT = TypeVar("PageT", OfSend, Preferences)


def named(call: Call, use: Use, kind: type[NamedT]) -> NamedT:
    """What the path's token names. Raises Problem 404 for one that isn't ours."""
    links = call.deps.links
    found = links.tokens.read(use, call.path("token"), kind) if links is not None else None
    if found is None:
        raise unknown("the link")
    return found


def opened(call: Call, use: Use, kind: type[PageT]) -> PageT:
    """As ``named``, of a link to a page: each use is work, so they are counted. Raises Problem 404, 429."""
    found = named(call, use, kind)
    call.deps.limits.count_link(found.user_id)
    return found
