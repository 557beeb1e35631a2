"""A campaign reaches each of its users once, and does as it was asked to."""

from collections.abc import Iterator

from faults.checker.facts import Facts
from faults.checker.values import Campaign, Verdict, verdict

#: From when a pause or cancel was acknowledged.
_HEARD_MS = 1_000


def campaigns(facts: Facts) -> Verdict:
    broken = [f"{each.notification_id}: {why}" for each in facts.run.campaigns for why in _broken(facts, each)]
    means = "users whom a campaign reached twice, not at all though it is done, unnamed, or after a pause or cancel"
    return verdict("CAMPAIGN", means, broken)


def _broken(facts: Facts, campaign: Campaign) -> Iterator[str]:
    produced = facts.produced.get(campaign.notification_id, [])
    reached = {user for user, _ in produced}
    yield from (f"{user} was never named" for user in sorted(reached - campaign.users))
    yield from _more_than_once(facts, campaign)
    yield from _held(campaign, produced)
    match campaign.status:
        case "done":
            yield from (f"done, without {user}" for user in sorted(campaign.users - reached))
            for name, number in (("recipients", campaign.recipients), ("produced", campaign.produced)):
                if number != len(campaign.users):
                    yield f"done, with {number} {name} of {len(campaign.users)} users"
        case "cancelled":
            pass
        case other:
            yield f"came to no end: {other}"


def _more_than_once(facts: Facts, campaign: Campaign) -> Iterator[str]:
    """What one recipient is sent twice is DUP's matter."""
    for user in sorted(campaign.users):
        events = facts.by_recipient.get((campaign.notification_id, user), ())
        if (times := sum(event.status == "accepted" for event in events)) > 1:
            yield f"{user} got it {times} times"


def _held(campaign: Campaign, produced: list[tuple[str, int]]) -> Iterator[str]:
    for from_ms, until_ms in campaign.holds:
        begins = from_ms + _HEARD_MS + campaign.allowance_ms
        for user, at_ms in produced:
            if at_ms > begins and (until_ms is None or at_ms < until_ms):
                yield f"{user}'s request was made at {at_ms}, held since {from_ms}"
