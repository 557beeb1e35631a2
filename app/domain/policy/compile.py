"""From a policy's document to the frozen Policy: every default filled in, every reference resolved or refused."""

from collections.abc import Collection, Mapping
from typing import Any, get_args

from app.domain.caps import Cap
from app.domain.digest import DigestRule, Rhythm
from app.domain.fallback import Chain
from app.domain.holdout import share_of
from app.domain.policy import delivery
from app.domain.policy.checks import LONGEST_SPREAD_HOURS, UNITS_MS, Checks
from app.domain.policy.document import Document, plain_document, read_document
from app.domain.policy.mending import mended
from app.domain.policy.model import Category, EventRule, Policy
from app.domain.policy.problems import Path, PolicyError, Problem, dotted
from app.domain.policy.schema import misshapen, too_many
from app.domain.policy.sizes import MAX_PATTERNS, MAX_PROBLEMS
from app.domain.quiet_hours import EVERY_DAY, Hours, days_mask, minutes_of
from app.domain.verification import CODE_MS
from app.domain.zones import is_zone, zone_names
from schemas.verifications import VERIFY, VerifiedChannel
from schemas.words import Channel

#: Values of a misshapen document that is read a second time, for what else is wrong with it.
_MAX_LOOKED_AT_TWICE = 10_000

_VERIFIED: dict[Channel, bool] = {"sms": True, "email": False}
_QUIET_CHANNELS: list[Channel] = ["push", "sms"]
_VERIFIABLE: tuple[Channel, ...] = get_args(VerifiedChannel)
_DIGEST_CHANNELS: list[Channel] = ["push", "email", "sms"]


def parse_policy(
    text: str | Mapping[str, Any], *, templates: Collection[str] | None = None, stored: bool = False
) -> Policy:
    """The policy of a YAML or JSON text (or of the plain values of one).

    ``templates``: the ids that may be named; None: any. ``stored``: it was applied, perhaps by a version that refused
    less, and stays in force. Raises PolicyError with its problems, each with its line.
    """
    document = read_document(text) if isinstance(text, str) else plain_document(text)
    if isinstance(document.root, dict) and (many := too_many(document)):
        raise PolicyError(many)
    if found := misshapen(document):
        problems = [problem for _, problem in found]
        raise PolicyError(_in_order(problems + _what_else(document, [path for path, _ in found], templates)))
    checks = Checks(document, templates, stored=stored)
    policy = _Compiler(document, checks).policy()
    if checks.problems:
        raise PolicyError(_in_order(checks.problems))
    return policy


def _what_else(document: Document, broken: list[Path], templates: Collection[str] | None) -> list[Problem]:
    """What is wrong with the rest of a misshapen document, where that doesn't take too long to find out."""
    if len(broken) >= MAX_PROBLEMS or len(document.lines) > _MAX_LOOKED_AT_TWICE:
        return []
    rest = mended(document, broken)
    if rest is None:
        return []
    checks = Checks(rest[0], templates)
    _Compiler(rest[0], checks).policy()
    unread = tuple(dotted(path) for path in rest[1])
    below = tuple(f"{path}{sign}" for path in unread for sign in ".[")
    return [p for p in checks.problems if p.path not in unread and not p.path.startswith(below)]


def _in_order(problems: list[Problem]) -> list[Problem]:
    found = sorted(dict.fromkeys(problems), key=lambda problem: problem.line or 0)
    return found[:MAX_PROBLEMS]


class _Compiler:
    """One document on its way to a Policy; goes on after a problem, so that an author sees all of them."""

    def __init__(self, document: Document, checks: Checks) -> None:
        self._root: dict[str, Any] = document.root
        self._checks = checks

    def policy(self) -> Policy:
        defaults = self._root.get("defaults", {})
        dedup = defaults.get("dedup", {})
        quiet = defaults.get("quiet_hours", {})
        digests = {
            name: self._digest(("digests", name), name, rule) for name, rule in self._root.get("digests", {}).items()
        }
        categories = self._categories(defaults.get("category"), digests)
        default = categories[defaults.get("category", "other")]
        expires = self._checks.duration(("defaults", "expires_after"), defaults.get("expires_after", "48h"))
        rules = self._event_rules(categories, default, digests, expires)
        providers = delivery.providers_of(self._root, self._checks)
        sources = self._root.get("critical", {}).get("sources")
        inbox = self._root.get("inbox", {})
        return Policy(
            timezone=self._zone(),
            categories=categories,
            default_category=default,
            exact={name: rule for name, rule in rules.items() if not name.endswith("*")},
            patterns=tuple(
                (name[:-1], rules[name]) for name in sorted(rules, key=len, reverse=True) if name.endswith("*")
            ),
            caps=self._caps(categories, digests),
            digests=digests,
            quiet_hours=self._quiet_hours(quiet),
            quiet_channels=frozenset(quiet.get("channels", _QUIET_CHANNELS)),
            quiet_spread_ms=self._spread_ms(quiet),
            providers=providers,
            retries=delivery.retries_of(self._root, self._checks),
            in_doubt=delivery.in_doubt_of(self._root, self._checks, categories),
            sms=delivery.sms_of(self._root),
            low_by_sms=self._root.get("sms", {}).get("low", True),
            shed=delivery.shed_of(self._root, self._checks),
            shed_backlog=delivery.shed_backlog_of(self._root, self._checks, providers),
            takeover_ms=delivery.takeover_of(self._root, self._checks),
            stale_after_ms=delivery.stale_after_of(self._root, self._checks),
            dedup_keys_ms=self._checks.duration(("defaults", "dedup", "keys"), dedup.get("keys", "7d")),
            dedup_content_ms=self._checks.duration_or_0(("defaults", "dedup", "content"), dedup.get("content", "10m")),
            expires_after_ms=expires,
            verified=self._verified(defaults.get("channels", {})),
            verification=self._verification(self._root.get("event_types", {}).get(VERIFY, {})),
            critical_sources=None if sources is None else frozenset(sources),
            inbox_keep_ms=self._checks.duration(("inbox", "keep"), inbox.get("keep", "90d")),
            inbox_items=int(inbox["items"]) if "items" in inbox else None,
        )

    def _zone(self) -> str:
        zone: str = self._root.get("timezone", "UTC")
        if not is_zone(zone):
            close = self._checks.guesses.closest(zone, zone_names())
            remedy = f"did you mean {close}?" if close else "write one such as Europe/London"
            self._checks.problem(("timezone",), f"is {zone!r}, not an IANA time zone", remedy)
            return "UTC"
        return zone

    def _spread_ms(self, quiet: dict[str, Any]) -> int:
        path: Path = ("defaults", "quiet_hours", "spread")
        return self._checks.duration_or_0(path, quiet.get("spread", 0), LONGEST_SPREAD_HOURS * UNITS_MS["h"])

    def _quiet_hours(self, quiet: dict[str, Any]) -> Hours | None:
        if "start" not in quiet:
            return None
        if quiet["start"] == quiet["end"]:
            self._checks.problem(
                ("defaults", "quiet_hours", "end"), "equals start", "leave both out for no quiet hours"
            )
        return Hours(
            minutes_of(quiet["start"]),
            minutes_of(quiet["end"]),
            days_mask(quiet["days"]) if "days" in quiet else EVERY_DAY,
            frozenset(quiet.get("channels", _QUIET_CHANNELS)),
            self._spread_ms(quiet),
        )

    @staticmethod
    def _verified(channels: dict[Channel, dict[str, bool]]) -> dict[Channel, bool]:
        return _VERIFIED | {name: entry["verified"] for name, entry in channels.items() if "verified" in entry}

    def _categories(self, default: str | None, digests: Mapping[str, DigestRule]) -> dict[str, Category]:
        section = self._root.get("categories", {})
        categories = {name: self._category(name, entry, digests) for name, entry in section.items()}
        if default is not None and not self._checks.known(("defaults", "category"), "category", default, categories):
            categories[default] = Category(default, ())
        if default is None and "other" not in categories:
            categories["other"] = Category("other", ("in_app",))
        return categories

    def _category(self, name: str, entry: dict[str, Any], digests: Mapping[str, DigestRule]) -> Category:
        digest = entry.get("digest")
        if digest is not None:
            self._checks.known(("categories", name, "digest"), "digest", digest, digests)
        if entry.get("opt_out") == "never" and "unsubscribe" in entry and not self._checks.stored:
            self._checks.problem(
                ("categories", name, "unsubscribe"),
                "is combined with opt_out: never, so unsubscribing would have no effect",
                "leave out one of the two",
            )
        return Category(
            name=name,
            channels=tuple(entry.get("channels", ())),
            opt_out_never=entry.get("opt_out") == "never",
            critical=entry.get("critical", False),
            default=entry.get("default", {}),
            consent=frozenset(entry.get("consent", ())),
            verified=entry.get("verified", {}),
            unsubscribe=entry.get("unsubscribe"),
            tracking=entry.get("tracking", "none"),
            footer=entry.get("footer", False),
            label=entry.get("name", ""),
            description=entry.get("description", ""),
            digest=digests.get(digest) if digest else None,
            target_ms=self._checks.duration(("categories", name, "target"), entry["target"])
            if "target" in entry
            else None,
            holdout=share_of(entry.get("holdout", "0%")),
            failover=delivery.failover_of(("categories", name, "failover"), entry.get("failover", {}), self._checks),
        )

    def _digest(self, path: Path, name: str, entry: dict[str, Any]) -> DigestRule:
        self._checks.template((*path, "template"), entry["template"])
        if entry.get("min_items", 2) > entry.get("max_items", 100):
            self._checks.problem(
                (*path, "min_items"), "is more than max_items", "so nothing would ever be collected: lower it"
            )
        if entry.get("every", "week") != "week" and "on" in entry:
            self._checks.problem((*path, "on"), "is for every: week", "leave it out, or write every: week")
        return DigestRule(
            name=name,
            template=entry["template"],
            window_ms=self._checks.duration((*path, "window"), entry.get("window", "24h")),
            max_wait_ms=self._checks.duration((*path, "max_wait"), entry.get("max_wait", "24h")),
            max_items=int(entry.get("max_items", 100)),
            min_items=int(entry.get("min_items", 2)),
            channels=frozenset(entry.get("channels", _DIGEST_CHANNELS)),
            key=tuple(entry["key"].split(".")[1:]) if "key" in entry else None,
            drop_when_active=entry.get("drop_when_active", False),
            first=entry.get("first", "hold"),
            rhythm=Rhythm.of(entry) if "every" in entry else None,
        )

    def _event_rules(
        self,
        categories: Mapping[str, Category],
        default: Category,
        digests: Mapping[str, DigestRule],
        expires_ms: int,
    ) -> dict[str, EventRule]:
        rules = {}
        said = self._root.get("event_types", {})
        if sum(name.endswith("*") for name in said) > MAX_PATTERNS:
            message = f"has more than {MAX_PATTERNS} patterns (names that end in *)"
            self._checks.problem(("event_types",), message, "use a prefix that several share")
        for name, entry in said.items():
            if name == VERIFY:
                continue
            path: Path = ("event_types", name)
            category = default
            if "category" in entry and self._checks.known(
                (*path, "category"), "category", entry["category"], categories
            ):
                category = categories[entry["category"]]
            self._checks.template((*path, "template"), entry.get("template"))
            fallback = self._fallback((*path, "fallback"), entry.get("fallback"))
            digest = self._event_digest(path, entry.get("digest"), category, digests)
            rules[name] = EventRule(
                name=name,
                category=category,
                priority=entry.get("priority", "normal"),
                template=entry.get("template"),
                channels=tuple(entry.get("channels", category.channels)),
                expires_after_ms=self._checks.duration((*path, "expires_after"), entry["expires_after"])
                if "expires_after" in entry
                else expires_ms,
                digest=digest if fallback is None else None,
                fallback=fallback,
            )
        return rules

    def _verification(self, entry: dict[str, Any]) -> EventRule:
        """Nothing holds a code up: whoever asks for one waits for it. How many are sent is a setting."""
        path: Path = ("event_types", VERIFY)
        for key in entry.keys() - {"template"}:
            self._checks.problem((*path, key), "can't be chosen for verification codes", "leave it out")
        self._checks.template((*path, "template"), entry.get("template"))
        return EventRule(
            name=VERIFY,
            category=Category("security", _VERIFIABLE, opt_out_never=True, critical=True),
            priority="critical",
            template=entry.get("template"),
            channels=_VERIFIABLE,
            expires_after_ms=CODE_MS,
            digest=None,
            fallback=None,
        )

    def _event_digest(
        self, path: Path, said: str | dict[str, Any] | None, category: Category, digests: Mapping[str, DigestRule]
    ) -> DigestRule | None:
        name = str(path[-1])
        path = (*path, "digest")
        if said is None:
            return category.digest
        if isinstance(said, str):
            return digests[said] if self._checks.known(path, "digest", said, digests) else None
        if name in digests:
            self._checks.problem(path, f"has the name of the digest {name}", "name it here, or give that another name")
        return self._digest(path, name, said)

    def _fallback(self, path: Path, entry: dict[str, Any] | None) -> Chain | None:
        if entry is None:
            return None
        wait_ms = self._checks.duration((*path, "wait"), entry["wait"])
        return Chain(tuple(entry["chain"]), wait_ms, frozenset(entry.get("until", ("delivered", "opened"))))

    def _caps(self, categories: Mapping[str, Category], digests: Mapping[str, DigestRule]) -> tuple[Cap, ...]:
        caps: list[Cap] = []
        for index, entry in enumerate(self._root.get("caps", [])):
            path: Path = ("caps", index)
            if any(cap.name == entry["name"] for cap in caps):
                self._checks.problem((*path, "name"), f"{entry['name']} is there twice", "give each cap its own name")
            if "category" in entry:
                self._checks.known((*path, "category"), "category", entry["category"], categories)
            over = entry.get("over", "suppress")
            digest = over["digest"] if isinstance(over, dict) else None
            if digest is not None:
                self._checks.known((*path, "over", "digest"), "digest", digest, digests)
            caps.append(
                Cap(
                    name=entry["name"],
                    limit=int(entry["limit"]),
                    window_ms=self._checks.duration((*path, "window"), entry["window"]),
                    category=entry.get("category"),
                    channel=entry.get("channel"),
                    over="digest" if digest is not None else over,
                    digest=digest,
                )
            )
        return tuple(caps)
