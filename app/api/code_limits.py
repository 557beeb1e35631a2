"""How many verification codes this gateway asks for: of each user, to each address, and to each country, in an hour.

Codes to numbers that cost money are a way to earn it (SMS pumping). The count of a user's codes that binds is the
router's; here it comes first, so that one user can't use up what a country's other users have.
"""

from collections.abc import Callable
from dataclasses import dataclass

import phonenumbers
import structlog

from app.api.problems import Problem
from app.api.rates import Rate, Rates, Standing
from app.api.refusals import Limit
from app.config import Verify
from app.domain.addresses import parsed_hash
from schemas.verifications import VerifiedChannel

log = structlog.get_logger(__name__)

_HOUR_S = 3600
#: Whoever answers there earns by each message.
_COSTLY = frozenset((phonenumbers.PhoneNumberType.PREMIUM_RATE, phonenumbers.PhoneNumberType.SHARED_COST))


class CodeLimits:
    """``clock``: seconds that never go back. Buckets are full at the start and fill evenly in an hour."""

    def __init__(self, settings: Verify, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._users = Rates(clock)
        self._addresses = Rates(clock)
        self._countries = Rates(clock)

    def count(self, user_id: str, channel: VerifiedChannel, address: str) -> None:
        """One more code. Raises Problem: 429 with when to come back, 422 for a number that gets none."""
        if channel == "sms":
            self._check_country(address)
        standing = self._users.take(user_id, _hourly(self._settings.per_user))
        _allow(standing, "this user has requested too many codes", "codes_of_user")
        standing = self._addresses.take(parsed_hash(channel, address).hex(), _hourly(self._settings.per_address))
        _allow(standing, "too many codes were requested for this address", "codes_to_address")
        if channel == "sms":
            self._count_country(address)

    def _check_country(self, number: str) -> None:
        allowed = self._settings.countries
        if allowed and not number.startswith(allowed):
            raise Problem(422, "no codes are sent to numbers of this country", "channel", limit="code_country")
        if phonenumbers.number_type(phonenumbers.parse(number)) in _COSTLY:
            raise Problem(422, "no codes are sent to premium-rate numbers", "channel", limit="code_premium_rate")

    def _count_country(self, number: str) -> None:
        limits = self._settings.country_limits
        prefix = max((prefix for prefix in limits if number.startswith(prefix)), key=len, default=None)
        country = prefix or country_of(number)
        standing = self._countries.take(country, _hourly(limits[prefix] if prefix else self._settings.per_country))
        if not standing.allowed:
            log.warning("refusing codes to a country: its limit is reached", country=country, limit=standing.limit)
        _allow(standing, "too many codes were requested for numbers of this country", "codes_to_country")


@dataclass(frozen=True, slots=True)
class Codes:
    """What the gateway asks for codes with. ``secret``: the installation's."""

    secret: bytes
    limits: CodeLimits


def country_of(number: str) -> str:
    """The country of a number in E.164, as far as its beginning tells it, else its calling code: +1 has many."""
    parsed = phonenumbers.parse(number)
    return phonenumbers.region_code_for_number(parsed) or f"+{parsed.country_code}"


def _hourly(count: int) -> Rate:
    return Rate(count / _HOUR_S, count)


def _allow(standing: Standing, detail: str, limit: Limit) -> None:
    if not standing.allowed:
        again = {"Retry-After": str(standing.retry_after_s)}
        raise Problem(429, f"{detail} lately", "channel", headers=again, limit=limit)
