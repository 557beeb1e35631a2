"""The policy as the deciding code reads it: frozen, every reference resolved."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from app.domain.caps import Cap
from app.domain.digest import DigestRule
from app.domain.fallback import Chain
from app.domain.quiet_hours import Hours
from app.domain.trail import Entry
from schemas.verifications import VERIFY
from schemas.words import Channel, Priority, Provider

#: Event types come from outside: the cache of their rules must not grow with them.
_MOST_CACHED_RULES = 10_000

#: In which time a send should be out, where its category has no target of its own.
TARGETS_MS: Mapping[Priority, int | None] = {"critical": 10_000, "high": 60_000, "normal": 300_000, "low": None}


#: Which of a mail's opens and clicks are reported.
Tracking = Literal["none", "opens", "clicks", "all"]


@dataclass(frozen=True, slots=True)
class Failover:
    """When another provider of a channel takes over a category's sends; None: not said.

    ``after_ms``: how long a circuit has to be open. ``no_receipt_ms``: how long nothing may have come back of a send.
    """

    after_ms: int | None = None
    no_receipt_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Category:
    """What a user can opt out of."""

    name: str
    channels: tuple[Channel, ...]
    opt_out_never: bool = False
    critical: bool = False
    #: Channels that are off (or on) for users who said nothing.
    default: Mapping[Channel, bool] = field(default_factory=dict)
    #: Channels that need a granted consent.
    consent: frozenset[Channel] = frozenset()
    #: Where it differs from the policy's defaults: whether an address must be verified.
    verified: Mapping[Channel, bool] = field(default_factory=dict)
    unsubscribe: Literal["one_click"] | None = None
    #: What is reported of its mail, unless that is critical.
    tracking: Tracking = "none"
    #: Its mail ends with a link to unsubscribe and the sender's postal address.
    footer: bool = False
    #: For people: what it is called (``""``: its name), and what it is about.
    label: str = ""
    description: str = ""
    digest: DigestRule | None = None
    #: In which time a send should be out; None: as its priority has it.
    target_ms: int | None = None
    #: The part of its recipients who get nothing, see ``app.domain.holdout``.
    holdout: int = 0
    failover: Mapping[Channel, Failover] = field(default_factory=dict)

    @property
    def needs_unsubscribe(self) -> bool:
        """Whether its mail can't go out without a link to unsubscribe."""
        return not self.opt_out_never and (self.unsubscribe is not None or self.footer)

    def target_of(self, priority: Priority) -> int | None:
        """In how many milliseconds a send of this priority should be out; None: there is no target."""
        return TARGETS_MS[priority] if self.target_ms is None else self.target_ms


_NO_FAILOVER = Failover()


@dataclass(frozen=True, slots=True)
class EventRule:
    """What the policy says of an event type. ``name``: the entry that spoke, ``""`` where none did."""

    name: str
    category: Category
    priority: Priority
    template: str | None
    channels: tuple[Channel, ...]
    expires_after_ms: int
    digest: DigestRule | None
    fallback: Chain | None

    @property
    def digestible(self) -> bool:
        """An event type with a fallback isn't digested, not by a cap either."""
        return self.fallback is None


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``count`` calls in ``per_ms`` milliseconds."""

    count: int
    per_ms: int

    @property
    def per_second(self) -> float:
        return self.count * 1000 / self.per_ms


#: Twice as much so often is more than anybody sends.
_MOST_DOUBLINGS = 64


@dataclass(frozen=True, slots=True)
class WarmUp:
    """A new domain's mail, a little more with each period: ``start`` in the first, twice as much in each next one.
    ``since``: Unix ms."""

    start: Rate
    double_every_ms: int
    since: int

    def per_second(self, now: int) -> float:
        """Calls a second at most. ``now``: Unix ms; before ``since`` as in the first period."""
        doublings = max(0, now - self.since) // self.double_every_ms
        return self.start.per_second * float(2 ** min(doublings, _MOST_DOUBLINGS))


@dataclass(frozen=True, slots=True)
class ProviderChoice:
    order: tuple[Provider, ...]
    limits: Mapping[Provider, Rate] = field(default_factory=dict)
    warm_up: Mapping[Provider, WarmUp] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Retries:
    attempts: int
    base_ms: int
    cap_ms: int


@dataclass(frozen=True, slots=True)
class InDoubt:
    """How long a lost answer is asked after, and what then where nothing was found."""

    settle_ms: int
    default: Literal["resend", "give_up"]
    by_category: Mapping[str, Literal["resend", "give_up"]] = field(default_factory=dict)

    def then(self, category: str) -> Literal["resend", "give_up"]:
        return self.by_category.get(category, self.default)


@dataclass(frozen=True, slots=True)
class SmsLimit:
    """What becomes of a text that takes more SMS than ``max_segments``."""

    max_segments: int
    over: Literal["fail", "truncate"]


@dataclass(frozen=True, slots=True)
class Policy:
    timezone: str
    categories: Mapping[str, Category]
    default_category: Category
    #: By exact name, and by pattern without its ``*``, longest first.
    exact: Mapping[str, EventRule]
    patterns: tuple[tuple[str, EventRule], ...]
    caps: tuple[Cap, ...]
    digests: Mapping[str, DigestRule]
    #: For users who set none; None: they have none.
    quiet_hours: Hours | None
    #: What own hours hold, and within how long holds are let go.
    quiet_channels: frozenset[Channel]
    quiet_spread_ms: int
    providers: Mapping[Channel, ProviderChoice]
    retries: Mapping[Channel, Retries]
    in_doubt: InDoubt
    shed: Mapping[Priority, int]
    #: How many sends may wait for a provider before low ones are given up.
    shed_backlog: Mapping[Provider, int]
    #: How many SMS a text may take; None: as many as the provider takes.
    sms: SmsLimit | None
    dedup_keys_ms: int
    dedup_content_ms: int
    expires_after_ms: int
    verified: Mapping[Channel, bool]
    #: Who may ask for critical; None: everyone.
    critical_sources: frozenset[str] | None
    #: By channel: how long a provider's circuit has to be open before the next one takes over what isn't critical.
    takeover_ms: Mapping[Channel, int]
    #: Devices that were neither added nor renewed for so long are retired; None: never.
    stale_after_ms: int | None
    #: Of the codes that verify addresses (``VERIFY``); but for the template, no policy has a say in it.
    verification: EventRule
    #: How long an inbox keeps an item, and how many; None: as many as the inbox does by itself.
    inbox_keep_ms: int = 90 * 86_400_000
    inbox_items: int | None = None
    #: Whether messages of low priority go by SMS.
    low_by_sms: bool = True
    _beginnings: dict[int, dict[str, EventRule]] = field(default_factory=dict, compare=False, repr=False)
    _rules: dict[str, EventRule] = field(default_factory=dict, compare=False, repr=False)
    _caps: dict[tuple[str, Channel], tuple[Cap, ...]] = field(default_factory=dict, compare=False, repr=False)
    _rooms: dict[tuple[str, Channel], Entry] = field(default_factory=dict, compare=False, repr=False)
    _able: dict[tuple[Channel, frozenset[Provider]], Entry] = field(default_factory=dict, compare=False, repr=False)

    def rule_of(self, event_type: str) -> EventRule:
        """An exact name beats a pattern, of patterns the longest wins; unknown types are of the default category."""
        rule = self._rules.get(event_type)
        if rule is None:
            rule = self._find(event_type)
            if len(self._rules) >= _MOST_CACHED_RULES:
                self._rules.clear()
            self._rules[event_type] = rule
        return rule

    def priority_of(self, rule: EventRule, asked: Priority | None, source: str) -> Priority:
        """The effective priority of a request from ``source`` that asked for ``asked``."""
        if rule.category.critical:
            return "critical"
        priority = asked or rule.priority
        return "high" if priority == "critical" and not self.may_be_critical(source) else priority

    def may_be_critical(self, source: str) -> bool:
        return self.critical_sources is None or source in self.critical_sources

    def verified_required(self, category: Category, channel: Channel) -> bool:
        """Whether an address of the channel must be verified for this category."""
        return category.verified.get(channel, self.verified.get(channel, False))

    def caps_of(self, category: str, channel: Channel) -> tuple[Cap, ...]:
        """The caps that count a send of this category on this channel, in the order in which they are judged."""
        caps = self._caps.get((category, channel))
        if caps is None:
            caps = tuple(cap for cap in self.caps if cap.counts(category, channel))
            self._caps[category, channel] = caps
        return caps

    def room_entry(self, category: str, channel: Channel) -> Entry:
        """The trail's entry of the caps that count a send and have a place for it: their names are its inputs."""
        entry = self._rooms.get((category, channel))
        if entry is None:
            names = [cap.name for cap in self.caps_of(category, channel)]
            entry = self._rooms[category, channel] = ("cap", True, "room", *names)
        return entry

    def provider_entry(self, channel: Channel, configured: frozenset[Provider]) -> Entry:
        """The trail's entry of the providers that can carry the channel, in the policy's order: they are its inputs."""
        entry = self._able.get((channel, configured))
        if entry is None:
            able = [name for name in self.providers[channel].order if name in configured]
            entry = self._able[channel, configured] = ("provider", bool(able), *able)
        return entry

    def shed_ms(self, priority: Priority) -> int | None:
        """After how long in the queue a send of this priority is given up; None: never."""
        return self.shed.get(priority)

    def target_ms(self, category: str, priority: Priority) -> int | None:
        """In how many milliseconds a send should be out; None: there is no target. Of a category that the policy no
        longer has, only the priority counts."""
        known = self.categories.get(category)
        return TARGETS_MS[priority] if known is None else known.target_of(priority)

    def takes_over_after_ms(self, category: str, channel: Channel) -> int:
        """How long a circuit has to be open before the next provider takes over what isn't critical; 0: at once."""
        own = self._failover(category, channel).after_ms
        return self.takeover_ms.get(channel, 0) if own is None else own

    def no_receipt_ms(self, category: str, channel: Channel) -> int | None:
        """How long nothing may come back of a send before the next provider makes it once more; None: for ever."""
        return self._failover(category, channel).no_receipt_ms

    def _failover(self, category: str, channel: Channel) -> Failover:
        known = self.categories.get(category)
        return _NO_FAILOVER if known is None else known.failover.get(channel, _NO_FAILOVER)

    @property
    def templates(self) -> frozenset[str]:
        """The ids of the templates that it names."""
        rules = (*self.exact.values(), *(rule for _, rule in self.patterns), self.verification)
        digests = (*self.digests.values(), *(rule.digest for rule in rules if rule.digest is not None))
        named = {rule.template for rule in rules if rule.template is not None}
        return frozenset(named | {digest.template for digest in digests})

    def categories_of(self, pattern: str) -> frozenset[str]:
        """The categories of the event types that a name, or a beginning and ``*``, may mean."""
        if not pattern.endswith("*"):
            return frozenset((self.rule_of(pattern).category.name,))
        beginning = pattern[:-1]
        named = {rule.category.name for name, rule in self.exact.items() if name.startswith(beginning)}
        alike = {
            rule.category.name
            for prefix, rule in self.patterns
            if prefix.startswith(beginning) or beginning.startswith(prefix)
        }
        return frozenset(named | alike | {self._find(beginning).category.name})

    def _find(self, event_type: str) -> EventRule:
        if event_type == VERIFY:
            return self.verification
        if event_type in self.exact:
            return self.exact[event_type]
        for length, beginnings in self._by_length().items():
            if (rule := beginnings.get(event_type[:length])) is not None:
                return rule
        category = self.default_category
        return EventRule(
            name="",
            category=category,
            priority="normal",
            template=None,
            channels=category.channels,
            expires_after_ms=self.expires_after_ms,
            digest=category.digest,
            fallback=None,
        )

    def _by_length(self) -> Mapping[int, Mapping[str, EventRule]]:
        """The patterns by the length of their beginnings, longest first: one look for each length, however many."""
        if not self._beginnings:
            for prefix, rule in self.patterns:
                self._beginnings.setdefault(len(prefix), {})[prefix] = rule
        return self._beginnings
