import pytest

from tests.unit.tables.known import Known


@pytest.fixture
def known() -> Known:
    return Known()
