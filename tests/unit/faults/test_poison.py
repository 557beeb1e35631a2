"""That the sandbox takes every poison, so that an attack is one."""

from pathlib import Path

import msgspec
import pytest

from app.sandbox.exchange import Vendor
from app.sandbox.faults import read_fault
from app.sandbox.journal import Journal
from app.sandbox.registry import VENDORS
from faults.poison import POISONS, Poison


@pytest.fixture(scope="module")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Vendor]:
    folder: Path = tmp_path_factory.mktemp("vendors")
    journal = Journal(folder)
    return {vendor.name: vendor for vendor in (make(folder, journal) for make in VENDORS)}


@pytest.mark.parametrize("poison", POISONS, ids=lambda poison: poison.name)
def test_every_poison_can_be_answered(vendors: dict[str, Vendor], poison: Poison) -> None:
    speed = {} if poison.bytes_per_s is None else {"bytes_per_s": poison.bytes_per_s}
    for provider in filter(poison.is_for, vendors):
        rule = {"provider": provider, "action": "answer", "answer": poison.answer, **speed}
        read = read_fault(msgspec.json.encode(rule), vendors)

        assert read.answer is not None
        assert read.answer.reply().status == poison.answer.get("status", 200)
