"""The embedded ClickHouse, as the tests of the store have it."""

from tests.unit.store.conftest import client, settings

__all__ = ["client", "settings"]
