"""Exports to a bucket: as to a folder, whole or not at all, gone on with, and refused in words."""

import random
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import boto3
import msgspec
import pytest
from clickhouse_connect.driver import AsyncClient
from moto.server import ThreadedMotoServer

from app.store.bucket import Bucket, BucketFailed, bucket_and_prefix, opened_bucket
from app.store.exporting import MANIFEST, Export, ExportFailed, Manifest, count_rows
from schemas.instants import parse_ms
from tests.unit.store.history import history
from tests.unit.store.test_states import write

FROM, TO = parse_ms("2026-10-31T00:00:00Z"), parse_ms("2026-11-20T00:00:00Z")
URL = "s3://history/of/november"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in {
        "AWS_ENDPOINT_URL_S3": server,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="history")
    yield s3
    for key in objects(s3):
        s3.delete_object(Bucket="history", Key=key)
    s3.delete_bucket(Bucket="history")


def objects(s3: Any) -> dict[str, bytes]:
    keys = [each["Key"] for each in s3.list_objects_v2(Bucket="history").get("Contents", ())]
    return {key: s3.get_object(Bucket="history", Key=key)["Body"].read() for key in keys}


class Watched:
    """Notes which files are written."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self.written: list[str] = []

    async def read(self, name: str) -> bytes | None:
        return await self._bucket.read(name)

    async def write(self, name: str, content: bytes) -> None:
        self.written.append(name)
        await self._bucket.write(name, content)


async def export(client: AsyncClient) -> tuple[Manifest, list[str]]:
    """The manifest, and which files were written beside it."""
    async with opened_bucket(URL) as bucket:
        watched = Watched(bucket)
        manifest = await Export(client, watched, lambda done, of: None).run("lifecycle", "parquet", FROM, TO)
    return manifest, [name for name in watched.written if name != MANIFEST]


async def test_an_export_lies_whole_in_the_bucket_below_its_prefix(client: AsyncClient, s3: Any) -> None:
    events = history(random.Random(4))
    await write(client, [*events, *events[:9]])
    manifest, _ = await export(client)

    found = objects(s3)
    assert set(found) == {f"of/november/{name}" for name in (MANIFEST, *(file.name for file in manifest.files))}
    assert msgspec.json.decode(found[f"of/november/{MANIFEST}"], type=Manifest) == manifest
    assert (manifest.complete, manifest.rows) == (True, len(events))
    for file in manifest.files:
        content = found[f"of/november/{file.name}"]
        assert sha256(content).hexdigest() == file.sha256
        assert count_rows("parquet", content) == file.rows


async def test_an_export_again_writes_only_what_is_missing_or_damaged_there(client: AsyncClient, s3: Any) -> None:
    await write(client, history(random.Random(4)))
    manifest, written = await export(client)
    lost, damaged = manifest.files[0].name, manifest.files[-1].name
    assert written == [file.name for file in manifest.files]
    assert lost != damaged
    s3.delete_object(Bucket="history", Key=f"of/november/{lost}")
    s3.put_object(Bucket="history", Key=f"of/november/{damaged}", Body=b"half")

    assert await export(client) == (manifest, [lost, damaged])
    assert await export(client) == (manifest, [])


async def test_another_export_there_is_left_alone(client: AsyncClient, s3: Any) -> None:
    await write(client, history(random.Random(4)))
    await export(client)
    before = objects(s3)
    async with opened_bucket(URL) as bucket:
        with pytest.raises(ExportFailed, match="choose another place"):
            await Export(client, bucket, lambda done, of: None).run("lifecycle", "csv", FROM, TO)

    assert objects(s3) == before


async def test_a_bucket_that_is_not_there_is_named(s3: Any) -> None:
    async with opened_bucket("s3://another/x") as bucket:
        with pytest.raises(BucketFailed, match=r"bucket another: .*NoSuchBucket"):
            await bucket.read(MANIFEST)
        with pytest.raises(BucketFailed, match=r"bucket another: .*NoSuchBucket"):
            await bucket.write(MANIFEST, b"{}")


async def test_an_endpoint_that_does_not_answer_is_named(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    async with opened_bucket(URL) as bucket:
        with pytest.raises(BucketFailed, match=r"bucket history: .*127\.0\.0\.1:9"):
            await bucket.write(MANIFEST, b"{}")


@pytest.mark.parametrize(
    "endpoint", ["http://minio.example.com", "http://10.0.0.1:9000", "ftp://127.0.0.2", "nonsense"]
)
async def test_nothing_travels_in_the_clear(s3: Any, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    with pytest.raises(BucketFailed):
        async with opened_bucket(URL):
            pass


@pytest.mark.parametrize(
    ("url", "place"), [("s3://abc", ("abc", "")), ("s3://abc/", ("abc", "")), (URL, ("history", "of/november"))]
)
def test_a_url_names_bucket_and_prefix(url: str, place: tuple[str, str]) -> None:
    assert bucket_and_prefix(url) == place


@pytest.mark.parametrize("url", ["gs://abc", "s3://", "s3://A", "s3://a.b?x", "s3://abc#x", "s3://abc/" + "x" * 901])
def test_what_is_no_buckets_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"s3://|prefix"):
        bucket_and_prefix(url)
