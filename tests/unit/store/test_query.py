"""``tocsin query`` as it is called in a shell, while the embedded ClickHouse is being served."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from clickhouse_connect.driver import AsyncClient

from app.store.reading import is_not_there_yet
from tests.unit.store.conftest import event, store


async def query(data: Path, *arguments: str) -> tuple[int | None, str, str]:
    """Exit status, output and errors."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TOCSIN_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app.cli", "query", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**inherited, "TOCSIN_DATA__DIR": str(data), "TOCSIN_CLICKHOUSE__URL": f"chdb://{data}/clickhouse"},
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


async def test_rows_are_printed_as_a_table_or_as_json(client: AsyncClient, tmp_path: Path) -> None:
    await store(client, event("accepted"), event("sent", 5, channel="push", send_id="s"))
    sql = "SELECT channel, status FROM lifecycle ORDER BY occurred_at"

    _, table, _ = await query(tmp_path, sql)
    status, as_json, _ = await query(tmp_path, sql, "--json")

    assert [line.split() for line in table.splitlines()] == [["channel", "status"], ["accepted"], ["push", "sent"]]
    assert json.loads(as_json) == [{"channel": None, "status": "accepted"}, {"channel": "push", "status": "sent"}]
    assert status == 0


async def test_what_is_cut_off_is_said_beside_the_rows(client: AsyncClient, tmp_path: Path) -> None:
    status, output, errors = await query(tmp_path, "SELECT arrayJoin(range(5)) AS number", "--limit", "2", "--json")

    assert (status, json.loads(output)) == (0, [{"number": 0}, {"number": 1}])
    assert "first 2" in errors


async def test_values_are_given_by_name(client: AsyncClient, tmp_path: Path) -> None:
    sql = "SELECT {who:String} AS who, {n:UInt8} AS n"
    status, output, errors = await query(tmp_path, sql, "--json", "--param", "who=a=b's", "--param", "n=7")

    assert (status, errors) == (0, "")
    assert json.loads(output) == [{"who": "a=b's", "n": 7}]


async def test_values_without_a_name_or_of_the_same_name_are_refused(tmp_path: Path) -> None:
    for given, why in ((["n"], "--param n: write NAME=VALUE"), (["n=1", "n=2"], "--param n: is given twice")):
        status, _, errors = await query(tmp_path, "SELECT 1", *(f"--param={each}" for each in given))

        assert (status, errors) == (1, f"tocsin: {why}\n")


async def test_a_refusal_is_one_line_and_exit_status_1(client: AsyncClient, tmp_path: Path) -> None:
    status, output, errors = await query(tmp_path, "DROP TABLE lifecycle")

    assert (status, output) == (1, "")
    assert errors == ("tocsin: only SELECT and WITH, and DESCRIBE, SHOW and EXISTS of plain names, are allowed\n")


async def test_without_the_analytics_role_it_says_what_to_start(tmp_path: Path) -> None:
    status, _, errors = await query(tmp_path, "SELECT 1")

    assert status == 1
    assert "start `tocsin dev` or `tocsin worker analytics`" in errors


_UNKNOWN = "Code: 60. DB::Exception: Unknown table expression identifier "


@pytest.mark.parametrize(
    ("error", "is_not_there"),
    [
        ("Code: 81. DB::Exception: Database notify does not exist. (UNKNOWN_DATABASE)", True),
        ("Code: 60. DB::Exception: Table notify.lifecycle does not exist. (UNKNOWN_TABLE)", True),
        (_UNKNOWN + "'lifecycle' in scope SELECT 1. (UNKNOWN_TABLE)", True),
        (_UNKNOWN + "'sends' in scope SELECT 'lifecycle'. (UNKNOWN_TABLE)", False),
        (_UNKNOWN + "'lifecycles' in scope SELECT 1. (UNKNOWN_TABLE)", False),
    ],
)
def test_the_first_table_may_have_yet_to_be_made(error: str, *, is_not_there: bool) -> None:
    assert is_not_there_yet(error) == is_not_there
