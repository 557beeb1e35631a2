"""The client and the gateway's description agree: every operation has a method, every method an operation, and types
are those of the description."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest

from clients.types.made import made
from clients.types.models import Operation, document, models_of
from clients.types.services import NOT_FOR_SERVICES, is_for_services
from tests.unit.clients.conftest import Served
from tests.unit.clients.samples import Sample, samples
from tocsin.client import AsyncTocsin, ProblemError, Tocsin
from tocsin.client.batching import bulk_call
from tocsin.client.calls import Call, Resource, listing, nothing, operation, stream
from tocsin.client.resources import CampaignTerms

DOCUMENT = document()
MODELS = models_of(DOCUMENT)
OPERATIONS = {(each.method, each.path): each for each in MODELS.operations}
SAMPLES = samples()
MADE = made()


class _Recorded(Exception):
    def __init__(self, call: Call[Any]) -> None:
        self.call = call


class _Recording:
    """Makes no call, but shows it."""

    def make(self, call: Call[Any]) -> Any:
        raise _Recorded(call)

    def pages(self, pages: Any) -> Any:
        raise _Recorded(pages.first)

    def follow(self, following: Any) -> Any:
        raise _Recorded(Call("GET", following.target, nothing))


@cache
def resources() -> dict[str, Resource[Any]]:
    with Tocsin("http://gateway", "key") as client:
        return {name: each for name, each in vars(client).items() if isinstance(each, Resource)}


def methods(resource: Resource[Any]) -> list[str]:
    return [name for name, each in vars(type(resource)).items() if isinstance(each, operation | listing | stream)]


def call_of(resource: str, method: str, sample: Sample) -> Call[Any]:
    its = type(resources()[resource])(_Recording())
    with pytest.raises(_Recorded) as recorded:
        getattr(its, method)(*sample.args, **sample.kwargs)
    return recorded.value.call


def operation_of(call: Call[Any]) -> Operation | None:
    path = call.target.partition("?")[0]
    found = [
        each
        for each in MODELS.operations
        if each.method == call.method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", each.path), path)
    ]
    return min(found, key=lambda each: each.path.count("{"), default=None)


def covered() -> Iterator[tuple[str, str]]:
    yield "POST", "/v1/notifications/bulk"  # send_many and the batchers
    for (resource, method), sample in SAMPLES.items():
        if (found := operation_of(call_of(resource, method, sample))) is not None:
            yield found.method, found.path


@pytest.mark.parametrize("file", MADE, ids=lambda file: file.name)
def test_types_are_made_of_the_description_of_now(file: Any) -> None:
    assert file.read_text() == MADE[file], "run `.venv/bin/python -m clients.types`"


def test_every_operation_has_a_method_or_is_not_for_services() -> None:
    has = set(covered())
    missing = [each for key, each in OPERATIONS.items() if key not in has]

    assert [each for each in missing if is_for_services(each)] == []


def test_what_is_not_for_services_has_no_method() -> None:
    assert [each for each in covered() if not is_for_services(OPERATIONS[each])] == []


def test_everything_that_is_not_for_services_is_there() -> None:
    there = [f"{method} {path}" for method, path in OPERATIONS]

    assert [each for each in NOT_FOR_SERVICES if not any(name.startswith(each) for name in there)] == []


def test_every_method_has_a_sample() -> None:
    there = {(name, method) for name, resource in resources().items() for method in methods(resource)}

    assert there == SAMPLES.keys()


@pytest.mark.parametrize(("resource", "method"), SAMPLES, ids=str)
def test_each_method_calls_an_operation_with_its_parameters_and_fields(resource: str, method: str) -> None:
    call = call_of(resource, method, SAMPLES[resource, method])
    found = operation_of(call)
    assert found is not None

    asked = {name for name, _ in parse_qsl(call.target.partition("?")[2])}
    assert asked <= set(found.query)
    if found.body is not None and isinstance(call.body, bytes) and call.media == "application/json":
        body = msgspec.json.decode(call.body)
        assert body.keys() <= fields_of(found.body)


def fields_of(body: str) -> set[str]:
    return {field.name for model in MODELS.bodies if model.name == body for field in model.fields}


def test_an_upload_takes_every_parameter_of_it() -> None:
    assert set(CampaignTerms.__annotations__) == set(OPERATIONS["POST", "/v1/campaigns"].query)


def test_both_clients_have_the_same_resources() -> None:
    other = AsyncTocsin("http://gateway", "key")
    names = {name for name, each in vars(other).items() if isinstance(each, Resource)}

    assert names == resources().keys()


@pytest.mark.parametrize(("resource", "method"), SAMPLES, ids=str)
def test_the_gateway_answers_each_method_and_the_answer_is_read(resource: str, method: str, served: Served) -> None:
    sample = SAMPLES[resource, method]
    with Tocsin(served.url, served.keys[sample.key]) as client, refused_with(sample.refused):
        answer = getattr(getattr(client, resource), method)(*sample.args, **sample.kwargs)
        if isinstance(answer, Iterator):
            list(answer)


@pytest.mark.parametrize(("resource", "method"), SAMPLES, ids=str)
async def test_the_awaiting_client_reads_the_same(resource: str, method: str, served: Served) -> None:
    sample = SAMPLES[resource, method]
    async with AsyncTocsin(served.url, served.keys[sample.key]) as client:
        with refused_with(sample.refused):
            found = getattr(getattr(client, resource), method)(*sample.args, **sample.kwargs)
            if hasattr(found, "__aiter__"):
                _ = [each async for each in found]
            else:
                await found


@contextmanager
def refused_with(status: int | None) -> Iterator[None]:
    """None: it isn't refused."""
    if status is None:
        yield
        return
    with pytest.raises(ProblemError) as refused:
        yield
    assert refused.value.status == status


def test_a_bulk_call_is_described() -> None:
    found = operation_of(bulk_call([b"{}"]))

    assert found is not None
    assert found.path == "/v1/notifications/bulk"


def test_a_refusal_has_every_member_of_a_problem() -> None:
    problem: Mapping[str, Any] = DOCUMENT["components"]["schemas"]["Problem"]["properties"]
    shown = ProblemError(422, dict.fromkeys(problem, "x"))

    assert [name for name in problem if not hasattr(shown, name)] == []
