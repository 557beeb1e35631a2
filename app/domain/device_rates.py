"""How often one device may be sent to: a provider's documented rates for each, and the rest that it asks for.

Sends beyond that would be refused one by one, or thrown away on their way; so they wait in their device's line.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from schemas.words import Provider

#: By provider, each ``(count, milliseconds)``. FCM: 240 messages a minute and 5,000 an hour to one device
#: (firebase.google.com/docs/cloud-messaging/throttling-and-quotas). Apple names none, and says so by its refusals.
DOCUMENTED: Mapping[Provider, Sequence[tuple[int, int]]] = {"fcm": ((240, 60_000), (5_000, 3_600_000))}
#: Where a device's refusal names no time.
REST_MS = 5_000
#: Half of a rate may be sent at once, and half of it in its time, so that no time has more than the rate.
_HALF = 0.5
#: However the clock was set, no device rests for longer.
_LONGEST_REST_MS = 3_600_000
#: Devices that are remembered. One that is forgotten may be sent to as if nothing had been.
_REMEMBERED = 100_000


class DeviceRates:
    """What one process has sent to devices. All times in Unix ms."""

    def __init__(self, rates: Mapping[Provider, Sequence[tuple[int, int]]] | None = None) -> None:
        self._rates = rates or {}
        #: By device: for each rate, when all that was sent is used up; and until when it rests.
        self._devices: OrderedDict[bytes, list[float]] = OrderedDict()

    def waits_until(self, provider: Provider, address: str, now: int) -> int | None:
        """When the device may be sent to next; None: now."""
        device = self._devices.get(_key(provider, address)) if self._devices else None
        if device is None:
            return None
        device[-1] = until = min(device[-1], now + _LONGEST_REST_MS)
        for number, (count, per_ms) in enumerate(self._rates.get(provider, ())):
            device[number] = min(device[number], now + 2 * per_ms)  # (more is there only if the clock was set back)
            until = max(until, device[number] - per_ms + _share_ms(count, per_ms))
        return round(until) + 1 if until > now else None

    def begin(self, provider: Provider, address: str, now: int) -> None:
        """A call begins."""
        rates = self._rates.get(provider)
        if not rates:
            return
        device = self._device(provider, address)
        for number, (count, per_ms) in enumerate(rates):
            device[number] = max(device[number], now) + _share_ms(count, per_ms)

    def rest(self, provider: Provider, address: str, until: int) -> None:
        """The provider refuses what is sent to the device until then."""
        self._device(provider, address)[-1] = until

    def _device(self, provider: Provider, address: str) -> list[float]:
        key = _key(provider, address)
        device = self._devices.get(key)
        if device is None:
            device = self._devices[key] = [0.0] * (len(self._rates.get(provider, ())) + 1)
            if len(self._devices) > _REMEMBERED:
                self._devices.popitem(last=False)
        else:
            self._devices.move_to_end(key)
        return device


def _share_ms(count: int, per_ms: int) -> float:
    """The time that one send uses up."""
    return per_ms / (count * _HALF)


def _key(provider: Provider, address: str) -> bytes:
    """Addresses themselves are kept nowhere but where they belong."""
    return blake2b(f"{provider} {address}".encode("utf-8", "surrogatepass"), digest_size=16).digest()
