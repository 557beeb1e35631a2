"""What each caller may do at once and in a second: services by their key, users by their id, all others by address."""

import ipaddress
from collections.abc import Callable

from app.api.callers import Caller, Service, User
from app.api.problems import Problem
from app.api.rates import Rate, Rates, Standing
from app.api.refusals import Limit
from app.api.room import Hold, Room

#: Of one user's own apps.
USER_RATE = Rate(100, 500)
#: Uses of the links to one user's pages, by whoever has them.
LINK_RATE = Rate(5, 50)
#: Calls from one address that are refused for want of good credentials, or for there being no such path.
REFUSED_RATE = Rate(10, 100)
#: Cancellations by one key of notifications that Tocsin doesn't know, which may be yet to come.
UNKNOWN_CANCELS_RATE = Rate(20, 200)

#: Receipts by one user of sends that aren't known (yet): each is waited for.
UNKNOWN_SENDS_RATE = Rate(5, 50)

#: IPv6 hands one customer so much (RFC 6177), so it is what counts as one address.
_IPV6_PREFIX = 64


class Limits:
    """``default_rate``: requests a second of a key that has no rate of its own."""

    def __init__(self, room: Room, default_rate: float, clock: Callable[[], float]) -> None:
        self._room = room
        self._default_rate = Rate.of(default_rate)
        self._keys = Rates(clock)
        self._users = Rates(clock)
        self._refused = Rates(clock)
        self._cancels = Rates(clock)
        self._sends = Rates(clock)
        self._links = Rates(clock)

    def count_call(self, caller: Caller) -> Standing:
        """One more request of a caller. Raises Problem 429 with when to come back."""
        standing = self._take(caller, 1)
        if not standing.allowed:
            whose, limit = _RATE_OF_KEY if isinstance(caller, Service) else _RATE_OF_USER
            raise _too_often(f"this {whose} has used up its rate", standing, limit)
        return standing

    def count_more(self, caller: Caller, requests: int) -> Standing:
        """So many more that came in a request that was counted: if they are too many, the next one waits for longer."""
        return self._take(caller, requests, insist=True)

    def may_cancel_unknown(self, service: Service) -> bool:
        """Whether a service may cancel one more notification that may not exist: each goes to every partition."""
        return self._cancels.take(service.key_id, UNKNOWN_CANCELS_RATE).allowed

    def count_unknown_send(self, user_id: str) -> None:
        """One more receipt by a user of a send that isn't known. Raises Problem 429 where there were too many."""
        standing = self._sends.take(user_id, UNKNOWN_SENDS_RATE)
        if not standing.allowed:
            raise _too_often("too many receipts of sends that are not known", standing, "unknown_sends")

    def count_link(self, user_id: str) -> None:
        """One more use of a link to one of the user's pages. Raises Problem 429 where there were too many."""
        standing = self._links.take(user_id, LINK_RATE)
        if not standing.allowed:
            raise _too_often("too many uses of this user's links", standing, "link_rate")

    def count_refusal(self, host: str | None) -> None:
        """One more refusal of a caller without good credentials. Raises Problem 429 where there were too many."""
        standing = self._refused.take(address_of(host), REFUSED_RATE)
        if not standing.allowed:
            raise _too_often("too many calls without good credentials from this address", standing, "address_rate")

    def hold(self, caller: Caller | None, host: str | None) -> Hold:
        """A call's part of what may be in flight."""
        match caller:
            case Service():
                return self._room.hold(f"key {caller.key_id}")
            case User():
                return self._room.hold(f"user {caller.user_id}")
            case None:
                return self._room.hold(f"address {address_of(host)}")

    def _take(self, caller: Caller, cost: int, *, insist: bool = False) -> Standing:
        if isinstance(caller, User):
            return self._users.take(caller.user_id, USER_RATE, cost, insist=insist)
        rate = self._default_rate if caller.rate is None else Rate.of(caller.rate)
        return self._keys.take(caller.key_id, rate, cost, insist=insist)


def address_of(host: object) -> str:
    """What counts as one address: an IPv4 address, or the IPv6 network of one customer."""
    try:
        address = ipaddress.ip_address(str(host).partition("%")[0])
    except ValueError:
        return str(host)
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
    return str(address)


_RATE_OF_KEY: tuple[str, Limit] = ("key", "key_rate")
_RATE_OF_USER: tuple[str, Limit] = ("user", "user_rate")


def _too_often(detail: str, standing: Standing, limit: Limit) -> Problem:
    headers = {"Retry-After": str(standing.retry_after_s), **standing.headers}
    return Problem(429, detail, headers=headers, limit=limit)
