"""What is known of users, from notify_commands and the router's broadcasts: kept alike by the router and by every
channel's role."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from msgspec.structs import replace

from app.domain.bounds import DEFAULT_BOUNDS, Bounds
from app.domain.keyed import NO_SECRET, HashKeys
from app.domain.policy import Policy
from app.domain.preferences import Preferences
from app.ports import Rows
from schemas.broadcasts import AddressSuppressed, Broadcast, TokenDead, TokenTaken
from schemas.commands import (
    ActivitySeen,
    AddressVerify,
    AnyCommand,
    ConsentSet,
    DeviceAdd,
    DeviceNormalize,
    DeviceRemove,
    NotificationCancel,
    PreferencesPatch,
    PreferencesSet,
    PreferencesUnsubscribe,
    ProfileSet,
    SuppressionAdd,
    SuppressionRemove,
    UserErase,
)
from schemas.instants import parse_ms
from schemas.words import Channel
from tables.applied import APPLIED, Applied, applied_key
from tables.applied import REMEMBERED_MS as APPLIED_MS
from tables.cancels import CANCELS, CancelTable
from tables.erasures import ERASURES, RUNNING_KEY, Erasure, certificate_key, erasure_key, running_key
from tables.preferences import NO_WISHES, PREFERENCES, StoredPreferences, with_consent, with_document, with_patch
from tables.preferences import without as unsubscribed_from
from tables.profiles import (
    NOBODY,
    PROFILES,
    Device,
    Profile,
    checked_zone,
    device_said,
    normalized,
    with_device,
    with_profile,
    with_verified,
)
from tables.suppressions import (
    SUPPRESSIONS,
    Suppression,
    SuppressionList,
    hashes_of,
    listed,
    suppressed_hashes,
    unlisted,
)
from tables.table import Table
from tables.tokens import TOKENS, Holder

#: The names of the tables that keep it.
KNOWLEDGE_TABLES: tuple[str, ...] = tuple(
    spec.name for spec in (PROFILES, PREFERENCES, SUPPRESSIONS, CANCELS, ERASURES, TOKENS, APPLIED)
)


@dataclass(frozen=True, slots=True)
class Claim:
    """A device token that one user has and nobody else may keep."""

    user_id: str
    token_hash: bytes
    #: Since when, Unix milliseconds.
    since_ms: int


@dataclass(frozen=True, slots=True)
class Retired:
    """A device that its user has no more, and not by their own wish. ``moved_to``: who has its token now."""

    user_id: str
    device_id: str
    token_hash: bytes
    reason: Literal["invalid_token", "stale", "moved", "limit"]
    moved_to: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What a command changed. ``applied`` False: it was known already, or the user is erased."""

    applied: bool = True
    #: The hours, the time zone or DND of the user may differ now.
    clock: bool = False
    #: The user chose another rhythm for a digest.
    rhythm: bool = False
    #: The user was erased by this command.
    erased: bool = False
    #: When the user, who begins anew with this command, had been erased (Unix ms).
    erased_before: int | None = None
    #: To be told to the other partitions.
    claim: Claim | None = None
    retired: tuple[Retired, ...] = ()


_NOTHING = Change(applied=False)
_DONE = Change()
_CLOCK = Change(clock=True)


class Knowledge:
    """One partition's users. Reads are of what was applied last, this batch included."""

    def __init__(self, rows: Rows, keys: HashKeys = NO_SECRET) -> None:
        """``keys``: of the suppression list. Raises UnknownKey."""
        self._profiles: Table[Profile] = Table(PROFILES, rows)
        self._preferences: Table[StoredPreferences] = Table(PREFERENCES, rows)
        self._suppressions = SuppressionList(rows, keys)
        self._erasures: Table[Erasure] = Table(ERASURES, rows)
        self._tokens: Table[Holder] = Table(TOKENS, rows)
        self._applied: Table[Applied] = Table(APPLIED, rows)
        self._cancels = CancelTable(rows)

    def tables(self) -> Sequence[Table[Any]]:
        return (
            self._profiles,
            self._preferences,
            self._suppressions.table,
            self._cancels.table,
            self._erasures,
            self._tokens,
            self._applied,
        )

    # --- reads ---

    def profile(self, user_id: str) -> Profile | None:
        return self._profiles.get(user_id.encode())

    def devices(self, user_id: str) -> Sequence[Device]:
        profile = self.profile(user_id)
        return profile.devices if profile is not None else ()

    def preferences(self, user_id: str) -> Preferences:
        return self.wishes(user_id).preferences

    def wishes(self, user_id: str) -> StoredPreferences:
        """Preferences and consents together."""
        return self._preferences.get(user_id.encode()) or NO_WISHES

    def consent(self, user_id: str, channel: Channel, category: str) -> bool | None:
        """True granted, False withdrawn, None never said."""
        return self.wishes(user_id).consent(channel, category)

    def zone(self, user_id: str, policy: Policy) -> str:
        """The time zone that was said last, else the policy's."""
        profile = self.profile(user_id)
        return (profile.timezone if profile is not None else None) or policy.timezone

    def is_suppressed(self, channel: Channel, address: str) -> bool:
        """``address`` as it stands in the profile, or a device's token."""
        return any(self.is_suppressed_hash(channel, hashed) for hashed in hashes_of(channel, address))

    def is_suppressed_hash(self, channel: Channel, hashed: bytes) -> bool:
        suppression = self._suppressions.get(channel, hashed)
        return suppression is not None and not suppression.removed

    def cancelled(
        self, user_id: str, notification_id: str, campaign_id: str | None, source: str, recorded_ms: int
    ) -> bool:
        """``recorded_ms``: the timestamp of the request's record."""
        return self._cancels.covers(user_id, notification_id, campaign_id, source, recorded_ms)

    def erased_at(self, erasure_id: str) -> int | None:
        """When (Unix ms) the erasure of that command was done here; None: it wasn't."""
        done = self._erasures.get(certificate_key(erasure_id))
        return done.at_ms if done is not None else None

    def erased(self, user_id: str) -> bool:
        """Whether the user was erased and has not begun anew. Whoever has a profile hasn't been."""
        return self.profile(user_id) is None and self._erasures.get(erasure_key(user_id)) is not None

    def profiles_from(self, start: bytes, limit: int) -> list[tuple[bytes, Profile]]:
        """The next profiles in the order of their keys."""
        return self._profiles.scan(start, None, limit)

    # --- an erasure that takes a while ---

    def forgetting(self, user_id: str) -> str:
        """The command of the erasure that is being carried out; ``""``: none is."""
        if self._erasures.get(RUNNING_KEY) is None:
            return ""
        running = self._erasures.get(running_key(user_id))
        return running.command if running is not None else ""

    def forgets(self, user_id: str, after: str) -> bool:
        """Whether what was there ``after`` that erasure (``""``: after none) is being forgotten, though its user may
        have begun anew."""
        return self.forgetting(user_id) not in ("", after)

    def begin_forgetting(self, user_id: str, command: str, now: int) -> None:
        """From here on ``forgets`` says what is to go, until ``end_forgetting``."""
        if not self.forgetting(user_id):
            self._count_running(1)
        self._erasures.put(running_key(user_id), Erasure(now, command))

    def end_forgetting(self, user_id: str) -> None:
        if command := self.forgetting(user_id):
            self._erasures.delete(running_key(user_id))
            self._count_running(-1)
            self._say_again(certificate_key(command))

    def _count_running(self, by: int) -> None:
        running = self._erasures.get(RUNNING_KEY)
        count = by + (running.at_ms if running is not None else 0)
        if count > 0:
            self._erasures.put(RUNNING_KEY, Erasure(count))
        else:
            self._erasures.delete(RUNNING_KEY)

    def reclaim_again(self, user_id: str) -> None:
        """Something of the user was deleted: if they were erased before, that is said once more, for it has the owner
        see that what was deleted leaves log and store (``app/streaming/reclaim.py``)."""
        if self.erased(user_id):
            self._say_again(erasure_key(user_id))

    def _say_again(self, key: bytes) -> None:
        if (erasure := self._erasures.get(key)) is not None:
            self._erasures.put(key, erasure)

    def rekey(self) -> None:
        """Goes on bringing the suppression list of a revision before to keyed hashes."""
        self._suppressions.rekey()

    # --- commands ---

    def apply(
        self,
        command: AnyCommand,
        position: str,
        now: int,
        bounds: Bounds = DEFAULT_BOUNDS,
        recorded_ms: int | None = None,
        policy: Policy | None = None,
    ) -> Change:
        """Takes one command of notify_commands. ``position``: where it lies. ``recorded_ms``: its record's timestamp
        (None: now). ``policy``: says which event types belong to a category. Raises Invalid with the field."""
        key = applied_key(command.user_id, command.id)
        if self._applied.get(key) is not None:
            return _NOTHING
        self._applied.put(key, Applied(position, now + APPLIED_MS))
        if isinstance(command, UserErase):
            self._erasures.put(certificate_key(command.id), Erasure(now))
        begins_or_ends = isinstance(command, ProfileSet | UserErase)
        if command.user_id is not None and not begins_or_ends and self.erased(command.user_id):
            return _NOTHING
        return self._change(command, now, bounds, now if recorded_ms is None else recorded_ms, policy)

    def learn(self, message: Broadcast) -> Change:
        """Takes one broadcast of the router's. The same one again changes nothing."""
        match message:
            case TokenTaken():
                return self._take_token(message)
            case TokenDead():
                return self._bury_token(message)
            case AddressSuppressed():
                return self._list_address(message)

    def _change(self, command: AnyCommand, now: int, bounds: Bounds, recorded_ms: int, policy: Policy | None) -> Change:
        match command:
            case ProfileSet(user_id=str(user_id)):
                return self._set_profile(user_id, command)
            case AddressVerify(user_id=str(user_id)):
                return self._verify(user_id, command)
            case DeviceAdd(user_id=str(user_id)):
                return self._add_device(user_id, command, min(parse_ms(command.at), now), bounds)
            case DeviceRemove(user_id=str(user_id), device_id=str(device_id)):
                self._drop_device(user_id, device_id)
            case DeviceNormalize(user_id=str(user_id)):
                return self._normalize(user_id, command.device_id)
            case ActivitySeen(user_id=str(user_id), timezone=str(timezone)) if timezone:
                return self._see(user_id, timezone)
            case PreferencesSet(user_id=str(user_id)):
                return self._prefer(user_id, with_document(self.wishes(user_id), command.preferences))
            case PreferencesPatch(user_id=str(user_id)):
                return self._prefer(user_id, with_patch(self.wishes(user_id), command.preferences))
            case PreferencesUnsubscribe(user_id=str(user_id)):
                return self._prefer(user_id, unsubscribed_from(self.wishes(user_id), command, policy))
            case ConsentSet(user_id=str(user_id)):
                self._preferences.put(user_id.encode(), with_consent(self.wishes(user_id), command))
            case NotificationCancel():
                self._cancels.add(command, now)
            case SuppressionAdd():
                for hashed in suppressed_hashes(command):
                    self._suppressions.put(command.channel, hashed, Suppression(command.reason, now))
            case SuppressionRemove():
                for hashed in suppressed_hashes(command):
                    before = self._suppressions.get(command.channel, hashed)
                    if (after := unlisted(before, recorded_ms)) is not None:
                        self._suppressions.put(command.channel, hashed, after)
            case UserErase(user_id=str(user_id)):
                self._erase(user_id, now)
                return Change(erased=True)
            case _:
                pass
        return _DONE

    def _set_profile(self, user_id: str, command: ProfileSet) -> Change:
        old = self.profile(user_id)
        profile = with_profile(old or NOBODY, command)
        self._profiles.put(user_id.encode(), profile)
        clock = profile.timezone != (old or NOBODY).timezone
        if old is None and (erasure := self._erasures.get(erasure_key(user_id))) is not None:
            self._erasures.delete(erasure_key(user_id))
            return Change(clock=clock, erased_before=erasure.at_ms)
        return _CLOCK if clock else _DONE

    def _verify(self, user_id: str, command: AddressVerify) -> Change:
        old = self.profile(user_id) or NOBODY
        profile = with_verified(old, command)
        if profile is old:
            return _NOTHING
        self._profiles.put(user_id.encode(), profile)
        return _DONE

    def _see(self, user_id: str, timezone: str) -> Change:
        profile = self.profile(user_id) or NOBODY
        if timezone == profile.timezone:
            return _DONE
        self._profiles.put(user_id.encode(), replace(profile, timezone=checked_zone(timezone)))
        return _CLOCK

    def _prefer(self, user_id: str, wishes: StoredPreferences) -> Change:
        old, new = self.preferences(user_id), wishes.preferences
        self._preferences.put(user_id.encode(), wishes)
        clock = old.quiet_hours != new.quiet_hours or old.dnd != new.dnd
        return Change(clock=clock, rhythm=old.digest != new.digest)

    def _add_device(self, user_id: str, command: DeviceAdd, at_ms: int, bounds: Bounds) -> Change:
        """Gives the user the token; whoever in this partition held it before gives it up. Of too many devices those
        go that were added or renewed longest ago."""
        old = self.profile(user_id) or NOBODY
        device, most = device_said(command, at_ms, bounds.push_hosts), bounds.devices
        holder = self._tokens.get(device.token_hash)
        retired = [
            Retired(user_id, each.device_id, each.token_hash, "moved", user_id)
            for each in old.devices
            if each.token_hash == device.token_hash and each.device_id != device.device_id
        ]
        if holder is not None and holder.user_id != user_id:
            rival = self._drop_device(holder.user_id, holder.device_id)
            retired += _moved(holder.user_id, rival, user_id)
            # Later than the rival, whatever the clocks said: the rival's claim may still be on its way here.
            device = replace(device, registered_ms=max(at_ms, rival.registered_ms + 1 if rival else 0))
        if (before := old.device(device.device_id)) is not None and before.token_hash != device.token_hash:
            self._tokens.delete(before.token_hash)
        profile = with_device(old, device, command.timezone)
        for oldest in profile.devices[:-most]:
            self._tokens.delete(oldest.token_hash)
            retired.append(Retired(user_id, oldest.device_id, oldest.token_hash, "limit"))
        profile = replace(profile, devices=profile.devices[-most:])
        self._profiles.put(user_id.encode(), profile)
        self._tokens.put(device.token_hash, Holder(user_id, device.device_id))
        known = holder is not None and holder.user_id == user_id
        claim = None if known else Claim(user_id, device.token_hash, device.registered_ms)
        return Change(clock=profile.timezone != old.timezone, claim=claim, retired=tuple(retired))

    def _take_token(self, message: TokenTaken) -> Change:
        """Takes a token from whoever holds it, unless it was registered later; who keeps it says so anew."""
        token_hash = bytes.fromhex(message.token_hash)
        holder = self._tokens.get(token_hash)
        if holder is None or holder.user_id == message.user_id:
            return _NOTHING
        device = (self.profile(holder.user_id) or NOBODY).device(holder.device_id)
        if device is not None and (device.registered_ms, holder.user_id) > (message.since, message.user_id):
            return Change(claim=Claim(holder.user_id, token_hash, device.registered_ms))
        dropped = self._drop_device(holder.user_id, holder.device_id)
        return Change(retired=_moved(holder.user_id, dropped, message.user_id))

    def _normalize(self, user_id: str, device_id: str) -> Change:
        """Of two devices whose tokens turn out to be the same, the one that was registered last keeps it."""
        device = (self.profile(user_id) or NOBODY).device(device_id)
        if device is None or (new := normalized(device)) is device:
            return _NOTHING
        suppression = self._suppressions.get("push", device.token_hash)
        if suppression is not None and not suppression.removed:
            self._suppressions.put("push", new.token_hash, suppression)
        holder = self._tokens.get(new.token_hash)
        retired: tuple[Retired, ...] = ()
        if holder is not None:
            rival = (self.profile(holder.user_id) or NOBODY).device(holder.device_id)
            if rival is not None and (rival.registered_ms, holder.user_id) > (new.registered_ms, user_id):
                return Change(retired=_moved(user_id, self._drop_device(user_id, device_id), holder.user_id))
            retired = _moved(holder.user_id, self._drop_device(holder.user_id, holder.device_id), user_id)
        profile = self.profile(user_id) or NOBODY
        devices = tuple(new if each.device_id == device_id else each for each in profile.devices)
        self._profiles.put(user_id.encode(), replace(profile, devices=devices))
        self._tokens.delete(device.token_hash)
        self._tokens.put(new.token_hash, Holder(user_id, device_id))
        return Change(claim=Claim(user_id, new.token_hash, new.registered_ms), retired=retired)

    def _bury_token(self, message: TokenDead) -> Change:
        """Takes a dead token from its user, unless it was registered since."""
        holder = self._tokens.get(bytes.fromhex(message.token_hash))
        if holder is None or holder.user_id != message.user_id:
            return _NOTHING
        device = (self.profile(holder.user_id) or NOBODY).device(holder.device_id)
        if device is not None and device.registered_ms > message.since:
            return _NOTHING
        dropped = self._drop_device(holder.user_id, holder.device_id)
        if dropped is None:
            return _DONE
        retired = Retired(holder.user_id, dropped.device_id, dropped.token_hash, message.reason)
        return Change(retired=(retired,))

    def _list_address(self, message: AddressSuppressed) -> Change:
        hashed = bytes.fromhex(message.address_hash)
        after = listed(self._suppressions.get(message.channel, hashed), message)
        if after is None:
            return _NOTHING
        self._suppressions.put(message.channel, hashed, after)
        return _DONE

    def _drop_device(self, user_id: str, device_id: str) -> Device | None:
        profile = self.profile(user_id) or NOBODY
        device = profile.device(device_id)
        if device is not None:
            others = tuple(d for d in profile.devices if d is not device)
            self._profiles.put(user_id.encode(), replace(profile, devices=others))
            self._tokens.delete(device.token_hash)
        return device

    def _erase(self, user_id: str, now: int) -> None:
        for device in self.devices(user_id):
            self._tokens.delete(device.token_hash)
        self._profiles.delete(user_id.encode())
        self._preferences.delete(user_id.encode())
        self._erasures.put(erasure_key(user_id), Erasure(now))


def _moved(user_id: str, dropped: Device | None, to: str) -> tuple[Retired, ...]:
    """``dropped``: the device that the user had; None: it was gone before."""
    return () if dropped is None else (Retired(user_id, dropped.device_id, dropped.token_hash, "moved", to),)
