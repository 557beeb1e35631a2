"""What became of requests, sends, receipts, digests and campaigns, counted from each durable batch of a role.

Lifecycle events are folded as the objects that they were, before they became JSON; what no event says is tallied by the
role (``Out.tally``). Every label has a closed set of values, or one that the policy names; of campaigns the latest are
kept.
"""

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry

from app.domain.out import Tally
from app.domain.service_level import MEASURED
from app.metrics.counts import Counts, Durations, Labels, LatestCounts
from schemas.lifecycle import LifecycleEvent
from schemas.topics import LANE_OF_EVENT_TOPIC
from schemas.words import CAME_BACK, ENDS, Status

#: Of send_latency_seconds: an hour is what a mail may take to be retried.
LATENCY_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
CAMPAIGNS = 100

#: What a rule, the policy or a last look came to; ``sending`` and what follows is the provider's.
_DECIDED: frozenset[Status] = frozenset(
    ("scheduled", "held", "queued", "suppressed", "failed", "expired", "cancelled", "aggregated")
)
#: What becomes of a record of an event topic. ``moved``: it lay in the wrong partition. ``read_again``: it was handled
#: before. ``refused``: it became a dead letter.
REQUEST_OUTCOMES = ("accepted", "repeated", "moved", "read_again", "refused")


def _ends(labels: Labels) -> Iterator[Labels]:
    """The ends that another send of this channel, provider and category may have, where none was called, too."""
    channel, provider, category, _ = labels
    for status in sorted(MEASURED):
        yield channel, provider, category, status
        yield channel, "", category, status


class Outcomes:
    """One role's."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._decisions = Counts(
            registry,
            "tocsin_decisions",
            "Decisions about a channel (empty: about all of a recipient's)",
            ("channel", "category", "outcome", "reason"),
        )
        self._sends = Counts(
            registry, "tocsin_sends", "Sends that ended", ("channel", "provider", "category", "status"), siblings=_ends
        )
        self._latency = Durations(
            registry,
            "tocsin_send_latency_seconds",
            "From accepted to sent",
            ("channel", "provider", "priority"),
            LATENCY_BOUNDS,
        )
        self._receipts = Counts(registry, "tocsin_receipts", "Reports about sends", ("channel", "provider", "status"))
        self._caps = Counts(registry, "tocsin_caps", "Sends that a cap kept back", ("cap",))
        named = ("source", "campaign")
        self._campaign_sent = LatestCounts(
            registry, "tocsin_campaign_sent", f"Sends of the {CAMPAIGNS} latest campaigns", named, CAMPAIGNS
        )
        self._campaign_unsubscribed = LatestCounts(
            registry,
            "tocsin_campaign_unsubscribed",
            f"Opt-outs from the {CAMPAIGNS} latest campaigns",
            named,
            CAMPAIGNS,
        )
        requests = Counts(registry, "tocsin_requests", "Requests read from the event topics", ("lane", "outcome"))
        self._tallies: Mapping[str, Counts] = {
            "requests": requests,
            "slo": Counts(
                registry,
                "tocsin_slo",
                "Sends that ended, and whether they were out within their category's target",
                ("category", "priority", "within"),
                siblings=lambda labels: [(*labels[:2], "true"), (*labels[:2], "false")],
            ),
            "no_receipt": Counts(
                registry,
                "tocsin_no_receipt_sends",
                "Sends made again because no receipt came, by their next provider",
                ("channel", "provider"),
            ),
            "digests": Counts(registry, "tocsin_digests", "Digests that were closed, and how", ("rule", "how")),
        }

    def show_requests(self) -> None:
        """Of the role that reads them."""
        lanes = LANE_OF_EVENT_TOPIC.values()
        self._tallies["requests"].show((lane, outcome) for lane in lanes for outcome in REQUEST_OUTCOMES)

    def refused(self, topic: str) -> None:
        """A record of that topic became a dead letter."""
        lane = LANE_OF_EVENT_TOPIC.get(topic)
        if lane is not None:
            self._tallies["requests"].inc((lane, "refused"))

    def count(self, counted: Sequence[LifecycleEvent | Tally]) -> None:
        """Takes what a durable batch has to be counted."""
        for each in counted:
            if type(each) is tuple:
                self._tally(each)
            else:
                self._count(each)  # type: ignore[arg-type]  # the other of the two

    def _tally(self, tally: Tally) -> None:
        self._tallies[tally[0]].inc(tally[1:])

    def _count(self, event: LifecycleEvent) -> None:
        status = event.status
        if status in _DECIDED:
            self._decisions.inc((event.channel or "", event.category or "", status, event.reason or ""))
            cap = event.detail.get("cap") if event.detail is not None else None
            if cap is not None:
                self._caps.inc((cap,))
        elif status in CAME_BACK:
            self._receipts.inc((event.channel or "", event.provider or "", status))
            if status == "unsubscribed" and event.campaign_id:
                self._campaign_unsubscribed.inc((event.source or "", event.campaign_id))
        if status in ENDS and event.send_id is not None:
            self._sends.inc((event.channel or "", event.provider or "", event.category or "", status))
            if status == "sent":
                self._sent(event)

    def _sent(self, event: LifecycleEvent) -> None:
        latency_ms = event.detail.get("latency_ms") if event.detail is not None else None
        if latency_ms is not None:
            labels = (event.channel or "", event.provider or "", event.priority or "")
            self._latency.observe(labels, latency_ms / 1000)
        if event.campaign_id:
            self._campaign_sent.inc((event.source or "", event.campaign_id))
