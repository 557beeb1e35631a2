"""What is said of topics and records to whoever builds on them: JSON Schemas, and the AsyncAPI document."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
import yaml
from aiohttp import web

from app.api.call import Call
from app.api.callers import PUBLIC
from app.api.problems import unknown
from app.api.routes import Route
from schemas.asyncapi import asyncapi
from schemas.published import RECORDS, schema_of

_SCHEMA, _JSON, _YAML = "application/schema+json", "application/json", "application/yaml"


class SchemaEntry(msgspec.Struct, frozen=True):
    name: str
    title: str
    #: Its path.
    schema: str


class SchemaList(msgspec.Struct, frozen=True):
    schemas: list[SchemaEntry]


@cache
def _schemas() -> Mapping[str, bytes]:
    return {name: msgspec.json.encode(schema_of(each)) for name, each in RECORDS.items()}


@cache
def _asyncapi(partitions: int) -> tuple[bytes, bytes]:
    """(YAML, JSON)."""
    document = asyncapi(partitions)
    return as_yaml(document).encode(), msgspec.json.encode(document)


def as_yaml(document: Mapping[str, Any]) -> str:
    shown: str = yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, width=120)
    return shown


async def get_schemas(_: Call) -> web.Response:
    entries = [SchemaEntry(name, each.title, f"/schemas/{name}.json") for name, each in RECORDS.items()]
    return web.Response(body=msgspec.json.encode(SchemaList(entries)), content_type=_JSON)


async def get_schema(call: Call) -> web.Response:
    found = _schemas().get(call.path("name"))
    if found is None:
        raise unknown("the schema: /schemas/ lists them, and it", "name")
    return web.Response(body=found, content_type=_SCHEMA)


async def get_asyncapi_yaml(call: Call) -> web.Response:
    return web.Response(body=_asyncapi(call.deps.partitions)[0], content_type=_YAML, charset="utf-8")


async def get_asyncapi_json(call: Call) -> web.Response:
    return web.Response(body=_asyncapi(call.deps.partitions)[1], content_type=_JSON)


ROUTES = (
    Route("GET", "/schemas/", get_schemas, PUBLIC, "The JSON Schemas of the topics' records", {200: SchemaList}),
    Route(
        "GET",
        "/schemas/{name}.json",
        get_schema,
        PUBLIC,
        "The JSON Schema of a kind of record",
        {200: dict[str, Any]},
        gives=(_SCHEMA,),
    ),
    Route("GET", "/asyncapi.yaml", get_asyncapi_yaml, PUBLIC, "The topics, as AsyncAPI 3", {200: dict}, gives=(_YAML,)),
    Route("GET", "/asyncapi.json", get_asyncapi_json, PUBLIC, "The topics, as AsyncAPI 3", {200: dict}),
)
