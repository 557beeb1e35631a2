"""The API's description: valid, whole, and of what is served."""

from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from app.api.description import describe
from app.api.server import RESOURCES, routes

SERVED = [route for resource in RESOURCES for route in resource.ROUTES]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return describe(SERVED, "https://notify.example")


def test_the_description_is_valid_openapi(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_every_route_is_described(document: dict[str, Any]) -> None:
    described = {(method.upper(), path) for path, operations in document["paths"].items() for method in operations}

    assert described == {(route.method, route.path) for route in SERVED}


def test_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]

    assert len(set(names)) == len(names)


def test_bodies_lack_what_the_gateway_says_itself(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    assert not schemas["DeviceAdd"]["properties"].keys() & {"type", "id", "at", "user_id"}
    assert schemas["DeviceAdd"]["required"] == ["device_id", "platform"]
    assert not schemas["Notification"]["properties"].keys() & {"source", "notification_id", "assigned_id", "replay_id"}


#: Requests that prove by themselves who made them, or that they come by a link of ours.
SIGNED = ("/v1/webhooks/", "/v1/track/", "/v1/unsubscribe/", "/preferences/")
#: What is said of topics and records, and what pages load.
DOCUMENTS = ("/web/", "/schemas/", "/asyncapi.")


def test_operations_ask_for_credentials_are_signed_or_say_nothing_of_anybody(document: dict[str, Any]) -> None:
    open_to_all = {
        path for path, its in document["paths"].items() if not all(each["security"] for each in its.values())
    }
    public = {route.path for route in routes(None) if route.access.public}

    assert public - open_to_all == {"/openapi.json"}
    assert all(path.startswith(SIGNED + DOCUMENTS) for path in open_to_all)
