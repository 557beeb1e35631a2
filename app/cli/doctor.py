"""``tocsin doctor``: is everything there that Tocsin needs, and what to do if not."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import aiohttp
import typer
from aiokafka.errors import KafkaError

from app.cli import doctor_reads
from app.cli.finding import Finding
from app.cli.output import AsJson, print_rows
from app.cli.settings import environment
from app.config import ConfigError, NoSecret, Settings, installation_secret, is_loopback
from app.config.providers import WebPush
from app.config.sections import SIGNING_KEY_BYTES
from app.dev.java import NoJava, find_java
from app.providers.webpush import read_key
from app.store import topics

_LIMIT_S = 15.0


def doctor(as_json: AsJson = False) -> None:
    """Check the settings, Kafka, the topics, ClickHouse, the providers and the running roles; exit status 1 if
    anything is wrong.

    Example: `tocsin doctor`
    """
    findings = asyncio.run(_examine())
    marks = {True: "✓", False: "✗", None: "–"}
    rows = [{**asdict(finding), "": marks[finding.ok]} for finding in findings]
    if as_json:
        print_rows([asdict(finding) for finding in findings], (), as_json=True)
    else:
        print_rows(rows, ("", "check", "found", "remedy"), as_json=False)
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(1)


async def _examine() -> list[Finding]:
    try:
        settings = Settings.load(environment())
    except ConfigError as error:
        return [Finding("settings", False, str(error), "correct this key in the settings file or the environment")]
    where = environment().get("TOCSIN_CONFIG", "defaults: TOCSIN_CONFIG is unset, and no `tocsin dev` runs here")
    kafka, brokers, clickhouse, running = await asyncio.gather(
        _kafka(settings), _brokers(settings), _clickhouse(settings), _running(settings)
    )
    own = [Finding("settings", True, where), secret(settings), links(settings)]
    return [*own, kafka, *brokers, clickhouse, *providers(settings), *webhooks(settings), *running, _java()]


async def _running(settings: Settings) -> list[Finding]:
    """The roles of this machine, and the workers of all, as far as they can be asked."""
    port = doctor_reads.port(settings.operations)
    if port.ok is False:
        return [port]
    roles = [finding async for finding in _roles(settings)]
    read = await asyncio.gather(
        doctor_reads.reads(settings), doctor_reads.paused(settings), doctor_reads.hooks(settings)
    )
    return [port, *roles, *chain.from_iterable(read)]


def secret(settings: Settings) -> Finding:
    """Whether all processes of the installation can have the same secret."""
    if settings.installation.secret is not None:
        return Finding("secret", True, "set by installation.secret")
    try:
        installation_secret(settings)
    except NoSecret as error:
        return Finding("secret", False, str(error), "correct it, or set installation.secret")
    where = f"in {settings.data.dir}"
    if all(is_loopback(_host_of(broker)) for broker in settings.kafka.bootstrap.split(",")):
        return Finding("secret", True, where)
    return Finding("secret", None, where, "if roles run on several hosts, set installation.secret to the same on all")


def links(settings: Settings) -> Finding:
    """Whether mail can carry links to unsubscribe, and whether their keys can't be guessed."""
    gateway = settings.gateway
    given = {"gateway.public_url": gateway.public_url, "gateway.signing_keys": gateway.signing_keys}
    if missing := " and ".join(name for name, value in given.items() if not value):
        found = (
            f"{missing} not set: mail of categories with unsubscribe: one_click or footer: true ends failed, "
            "no_provider; nothing is tracked, and there is no preference page"
        )
        sends_mail = settings.providers.ses is not None or settings.providers.sendgrid is not None
        return Finding("links", False if sends_mail else None, found, f"set {missing}")
    keys = [key.get_secret_value() for key in gateway.signing_keys]
    short = [str(place) for place, key in enumerate(keys, 1) if len(key.encode()) < SIGNING_KEY_BYTES]
    if short:
        found = f"gateway.signing_keys: number {', '.join(short)} is shorter than {SIGNING_KEY_BYTES} bytes"
        return Finding("links", False, found, "make one by `openssl rand -hex 32` and put it first")
    if not settings.branding.postal_address:
        remedy = "set branding.postal_address if a category of the policy has footer: true"
        return Finding("links", True, "mail can be unsubscribed from; no postal address is set", remedy)
    return Finding("links", True, "mail can be unsubscribed from")


def _host_of(broker: str) -> str:
    return broker.strip().rpartition(":")[0].strip("[]") or broker.strip()


async def _kafka(settings: Settings) -> Finding:
    from app.wiring import internal_tables

    try:
        async with asyncio.timeout(_LIMIT_S):
            problems = await topics.check(settings.kafka, internal_tables(), settings.data.erasure)
    except (KafkaError, OSError, TimeoutError) as error:
        remedy = "start it, or correct kafka.bootstrap"
        return Finding("kafka", False, f"{settings.kafka.bootstrap} doesn't answer ({type(error).__name__})", remedy)
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        return Finding("kafka", False, f"{problems[0]}{more}", "run `tocsin topics apply`")
    return Finding("kafka", True, f"{settings.kafka.bootstrap} answers, all topics are as declared")


async def _brokers(settings: Settings) -> list[Finding]:
    try:
        async with asyncio.timeout(_LIMIT_S):
            problems = await topics.check_brokers(settings.kafka, settings.data.erasure)
    except (KafkaError, OSError, TimeoutError):
        unknown = ("not known, as Kafka doesn't answer", "see kafka")
        return [Finding("log cleaner", None, *unknown), Finding("transactions", None, *unknown)]
    within = f"compacts within data.erase_within ({settings.data.erase_within:g} s)"
    cleaner, transactions = Finding("log cleaner", True, within), Finding("transactions", True, "end within a minute")
    if problems.cleaner:
        remedy = "correct it on every broker: erasures don't reach the log within data.erase_within else"
        cleaner = Finding("log cleaner", False, "; ".join(problems.cleaner), remedy)
    if problems.transactions:
        remedy = "lower it on every broker: what lies behind an open transaction waits for its end"
        transactions = Finding("transactions", None, "; ".join(problems.transactions), remedy)
    return [cleaner, transactions]


async def _clickhouse(settings: Settings) -> Finding:
    from app.store.clickhouse import EMBEDDED, Unavailable, connect

    try:
        async with asyncio.timeout(_LIMIT_S):
            client = await connect(settings)
            version = await client.command("SELECT version()")
            await client.close()
    except (Unavailable, TimeoutError) as error:
        found, _, remedy = str(error).rpartition(": ")
        return Finding("clickhouse", False, found or "doesn't answer", remedy or "start it, or correct clickhouse.url")
    if not settings.clickhouse.url.startswith(EMBEDDED) and settings.clickhouse.query_url is None:
        remedy = "make a read-only user and set clickhouse.query_url (docs/clickhouse.md)"
        return Finding("clickhouse", None, f"version {version} answers; queries run as the user who may write", remedy)
    return Finding("clickhouse", True, f"version {version} answers, database notify is there")


def providers(settings: Settings) -> list[Finding]:
    """A finding for each provider: without settings it isn't used; files that it names must be there."""
    findings = []
    for name in type(settings.providers).model_fields:
        part = getattr(settings.providers, name)
        if part is None:
            findings.append(Finding(f"provider {name}", None, "not used", f"to use it, set providers.{name}"))
            continue
        files = [value for value in part.model_dump().values() if isinstance(value, Path)]
        missing = [str(path) for path in files if not os.access(path, os.R_OK)]
        if missing:
            findings.append(Finding(f"provider {name}", False, f"can't read {', '.join(missing)}", "correct the path"))
        elif name == "webpush" and (wrong := _vapid_key(part)):
            findings.append(Finding("provider webpush", False, wrong, "`npx web-push generate-vapid-keys` makes one"))
        else:
            findings.append(Finding(f"provider {name}", True, "configured"))
    return findings


def _vapid_key(settings: WebPush) -> str | None:
    try:
        read_key(settings.vapid_private_key.get_secret_value())
    except ValueError as error:
        return str(error)
    return None


def webhooks(settings: Settings) -> list[Finding]:
    """A finding for each provider that is used and could report what became of its sends."""
    given = settings.providers
    needed: dict[str, dict[str, object]] = {}
    if given.ses is not None:
        needed["ses"] = {
            "providers.ses.configuration_set": given.ses.configuration_set,
            "providers.ses.webhook_topic_arns": given.ses.webhook_topic_arns,
        }
    if given.sendgrid is not None:
        needed["sendgrid"] = {"providers.sendgrid.webhook_public_key": given.sendgrid.webhook_public_key}
    if given.vonage is not None:
        needed["vonage"] = {"providers.vonage.signature_secret": given.vonage.signature_secret}
    if given.twilio is not None:
        needed["twilio"] = {"gateway.public_url": settings.gateway.public_url}
    return [_webhook(name, [key for key, value in keys.items() if not value]) for name, keys in needed.items()]


def _webhook(name: str, missing: Sequence[str]) -> Finding:
    if not missing:
        return Finding(f"webhook {name}", True, "what it reports is verified by the settings")
    lacking = f"{' and '.join(missing)} not set: nothing by {name} becomes delivered or bounced"
    return Finding(f"webhook {name}", None, lacking, "set it up as docs/operating.md#webhooks says")


async def _roles(settings: Settings) -> AsyncIterator[Finding]:
    announcements = sorted(settings.data.dir.glob("*/operations.json"))
    if not announcements:
        yield Finding("roles", None, "none has run on this machine", "start `tocsin dev`, or roles by themselves")
    tls = settings.operations.client_tls()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        for path in announcements:
            name = path.parent.name
            try:
                url = json.loads(path.read_text())["url"]
                async with session.get(f"{url}/health/ready", ssl=tls) as response:
                    if response.status == 200:
                        yield Finding(name, True, f"ready at {url}")
                    else:
                        yield Finding(name, False, f"not ready: {(await response.text())[:200]}", "see its log")
            except (OSError, ValueError, KeyError, TimeoutError, aiohttp.ClientError):
                yield Finding(
                    name, False, "doesn't answer", f"start it, or delete {path.parent} if it is gone for good"
                )


def _java() -> Finding:
    try:
        return Finding("java", True, str(find_java(os.environ)))
    except NoJava as error:
        return Finding("java", None, str(error), "only `tocsin dev` needs one")
