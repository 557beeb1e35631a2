"""``tocsin export``: a range of a table as files that other tools read."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.moments import moment
from app.cli.output import AsJson, Refused, print_rows
from app.cli.settings import load_settings
from schemas.instants import rfc3339

if TYPE_CHECKING:
    from app.store.exporting import Manifest


def export(
    table: Annotated[str, typer.Option(help="lifecycle, notifications, or an hourly view.")],
    since: Annotated[str, typer.Option("--from", help="RFC 3339, a day (UTC), or how long ago: 24h, 7d.")],
    until: Annotated[str, typer.Option("--to", help="The same; exclusive.")],
    to_path: Annotated[str, typer.Option(help="The folder for the files, created if needed; or s3://BUCKET/PREFIX.")],
    format: Annotated[str, typer.Option(help="parquet, csv or jsonl.")] = "parquet",
    as_json: AsJson = False,
) -> None:
    """Export a time range of a table into files of at most a day each, with a manifest of their counts.

    Each file's count is compared with the source. Run it again to go on where it was broken off, or to have what has
    changed since written anew. Files hold no detail, and of users only the pseudonymous id.

    To a bucket, credentials, region and endpoint come the AWS way (AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL_S3 …).

    Example: `tocsin export --table lifecycle --from 2026-11-01 --to 2026-12-01 --format parquet --to-path november`
    """
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from app.audit.running import now_ms
    from app.store.bucket import BucketFailed, bucket_and_prefix, opened_bucket
    from app.store.clickhouse import Unavailable, connect
    from app.store.exporting import FORMATS, Export, ExportFailed, Folder, Place, names

    if table not in names():
        raise Refused(f"--table: {table} can't be exported; the tables are {', '.join(names())}")
    chosen = next((name for name in FORMATS if name == format), None)
    if chosen is None:
        raise Refused(f"--format: {format} isn't known; the formats are {', '.join(FORMATS)}")
    if "://" in to_path:
        try:
            bucket_and_prefix(to_path)
        except ValueError as error:
            raise Refused(f"--to-path: {error}") from None
    now = now_ms()
    from_ms, to_ms = moment("--from", since, now), min(moment("--to", until, now), now)
    if from_ms >= to_ms:
        raise Refused(f"--from {rfc3339(from_ms)} isn't before --to {rfc3339(to_ms)}")
    settings = load_settings()

    async def run() -> "Manifest":
        from rich.console import Console
        from rich.progress import Progress

        async with AsyncExitStack() as stack:
            place: Place
            place = (
                await stack.enter_async_context(opened_bucket(to_path)) if "://" in to_path else Folder(Path(to_path))
            )
            client = await stack.enter_async_context(await connect(settings))
            with Progress(console=Console(stderr=True)) as bars:
                task = bars.add_task(f"days of {table}", total=None)
                export = Export(client, place, lambda done, of: bars.update(task, completed=done, total=of))
                return await export.run(table, chosen, from_ms, to_ms)

    try:
        manifest = asyncio.run(run())
    except BucketFailed as error:
        raise Refused(f"--to-path: {error}") from None
    except (Unavailable, ExportFailed) as error:
        raise Refused(str(error)) from None
    except ClickHouseError as error:
        raise Refused(f"ClickHouse: {str(error)[:500]}") from None
    except OSError as error:
        raise Refused(f"--to-path: {error.strerror or error}") from None
    files = [{"file": f.name, "rows": f.rows, "bytes": f.bytes, "sha256": f.sha256} for f in manifest.files]
    print_rows(files, ("file", "rows", "bytes"), as_json=as_json)
