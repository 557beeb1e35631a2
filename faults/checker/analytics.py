"""Asks ClickHouse which events it holds of a run, by its HTTP port."""

from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import clickhouse_connect
import orjson
from clickhouse_connect.driver.exceptions import ClickHouseError

from faults.checker.values import BadRun, Terms
from faults.checker.words import LIFECYCLE

_SQL = "SELECT DISTINCT event_id, user_id FROM notify.lifecycle WHERE "


def read_analytics(terms: Terms, begins: Mapping[tuple[str, int], int]) -> dict[str, str] | None:
    """The distinct events from where the log was read on: event_id → user_id. None: the run has no ClickHouse.

    Raises BadRun.
    """
    if terms.clickhouse_url is None:
        return None
    url = urlsplit(terms.clickhouse_url)
    try:
        client = clickhouse_connect.get_client(
            host=url.hostname,
            port=url.port or 8123,
            username=unquote(url.username or "default"),
            password=unquote(url.password or ""),
            secure=url.scheme in ("https", "clickhouses"),
            compress=False,
        )
        try:
            raw: bytes = client.raw_query(_SQL + _since(begins), fmt="JSONCompactEachRow")
        finally:
            client.close()
    except (ClickHouseError, OSError) as error:
        raise BadRun(f"run.json: clickhouse_url: can't be asked at {url.hostname}:{url.port}: {error!r}") from None
    return dict(orjson.loads(line) for line in raw.splitlines())


def _since(begins: Mapping[tuple[str, int], int]) -> str:
    parts = [(part, first) for (topic, part), first in sorted(begins.items()) if topic == LIFECYCLE]
    return " OR ".join(f"(topic_partition = {part} AND topic_offset >= {first})" for part, first in parts) or "0"
