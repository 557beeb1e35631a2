"""What apps are told of a push's buttons, whichever vendor carries it."""

from collections.abc import Sequence

from schemas.requests import PushOptions


def actions_of(options: PushOptions) -> Sequence[dict[str, str]]:
    """As browsers have them (Notifications API, ``actions``)."""
    return [{"action": each.id, "title": each.label} for each in options.actions or ()]
