"""What a user can choose, for an app's own preferences panel: the boxes of the hosted page, and what changes each."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from msgspec import Struct

from app.api.call import Call, answer
from app.api.callers import OWN_OR_ADMIN_READ
from app.api.routes import Route
from app.api.state import read
from app.domain.policy import Policy
from app.domain.preferences.form import category_change, channel_change, form_of, meant_by
from schemas.words import Channel


class Choice(Struct, frozen=True):
    """``on``: the user gets it now. ``change``: the patch of the preferences (RFC 7396) that turns it over."""

    channel: Channel
    on: bool
    change: dict[str, Any]


class CategoryChoices(Struct, frozen=True):
    """``channels``: none where it can't be turned off."""

    name: str
    label: str
    description: str
    channels: list[Choice]


class PreferenceChoices(Struct, frozen=True):
    """``channels``: of all that comes by a channel, whatever its category."""

    categories: list[CategoryChoices]
    channels: list[Choice]


async def get(call: Call) -> web.Response:
    return answer(choices_of(await read(call, "preferences") or {}, call.deps.config.catalog.policy))


def choices_of(document: Mapping[str, Any], policy: Policy) -> PreferenceChoices:
    form, meant = form_of(document, policy), meant_by(document, policy)
    return PreferenceChoices(
        [
            CategoryChoices(
                each.name,
                each.label,
                each.description,
                [
                    Choice(box.channel, box.is_on, category_change(each.name, box, document, meant))
                    for box in each.boxes
                ],
            )
            for each in form.categories
        ],
        [Choice(box.channel, box.is_on, channel_change(box, document)) for box in form.channels],
    )


ROUTES = (
    Route(
        "GET",
        "/v1/users/{id}/preferences/choices",
        get,
        OWN_OR_ADMIN_READ,
        "What a user can choose, and the patch that changes each choice",
        {200: PreferenceChoices},
    ),
)
