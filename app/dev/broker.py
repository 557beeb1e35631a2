"""A real Apache Kafka on this machine: one KRaft node as a child process, with its data in a folder of ours."""

import asyncio
import base64
import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from app.dev import kafka_jars, process

_MAX_MESSAGE_BYTES = 16 << 20
_STOP_PATIENCE_S = 10.0


class BrokerFailed(Exception):
    """The broker didn't start; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """``folder`` holds data and configuration, ``libs`` the jars; ports are of 127.0.0.1.

    ``detour``: a second port to listen at, and the port that clients are told who came there: of a proxy before it.
    """

    folder: Path
    libs: Path
    java: Path
    port: int
    controller_port: int
    log: Path
    detour: tuple[int, int] | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def properties_file(self) -> Path:
        return self.folder / "server.properties"

    @property
    def stamp(self) -> Path:
        """Says which version formatted the folder, and as which cluster."""
        return self.folder / "formatted"


def server_properties(options: BrokerOptions) -> str:
    """The broker's configuration: nothing is replicated, topics are only made by us, groups form without delay."""
    listeners, advertised = [f"PLAINTEXT://127.0.0.1:{options.port}"], [f"PLAINTEXT://127.0.0.1:{options.port}"]
    if options.detour is not None:
        listeners.append(f"DETOUR://127.0.0.1:{options.detour[0]}")
        advertised.append(f"DETOUR://127.0.0.1:{options.detour[1]}")
    entries = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@127.0.0.1:{options.controller_port}",
        "listeners": ",".join((*listeners, f"CONTROLLER://127.0.0.1:{options.controller_port}")),
        "advertised.listeners": ",".join(advertised),
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,DETOUR:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": options.folder.absolute() / "data",
        "num.partitions": 8,
        "auto.create.topics.enable": "false",
        "message.max.bytes": _MAX_MESSAGE_BYTES,
        "replica.fetch.max.bytes": _MAX_MESSAGE_BYTES,
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 8,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "log.cleaner.dedupe.buffer.size": 32 << 20,
        "log.cleaner.backoff.ms": 2_000,
        "transaction.max.timeout.ms": 60_000,
        "log.segment.bytes": 256 << 20,
        "log.index.size.max.bytes": 1 << 20,
    }
    return "".join(f"{key}={value}\n" for key, value in entries.items())


def prepare(options: BrokerOptions) -> bool:
    """Writes the configuration and formats the data folder, once. True: the log begins anew.

    A folder that another version or cluster has written is moved aside, never deleted. A broker that still runs on
    the folder (its parent was killed a moment ago) is ended. Raises BrokerFailed.
    """
    _end_broker_of(options.properties_file)
    stamp = options.stamp
    version, _, cluster_id = stamp.read_text().partition(" ") if stamp.exists() else ("", "", "")
    if options.folder.exists() and any(options.folder.iterdir()) and version != kafka_jars.VERSION:
        move_aside(options.folder)
    options.folder.mkdir(parents=True, exist_ok=True)
    options.properties_file.write_text(server_properties(options))
    is_new = not stamp.exists()
    if is_new:
        encoded = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        cluster_id = encoded.replace("-", "_")  # one in front would look like an option
        command = [*_java(options, "64m"), "kafka.tools.StorageTool", "format", "-t", cluster_id]
        command += ["--ignore-formatted", "-c", str(options.properties_file)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise BrokerFailed(f"Kafka's data folder can't be formatted: {done.stdout[-500:]}{done.stderr[-500:]}")
        stamp.write_text(f"{kafka_jars.VERSION} {cluster_id}")
    return is_new


def move_aside(folder: Path) -> None:
    """Renames a folder out of the way."""
    folder.rename(folder.with_name(f"{folder.name}.aside-{time.time_ns()}"))


def program(options: BrokerOptions, environ: Mapping[str, str]) -> process.Program:
    """What to run for the broker, after ``prepare``."""
    command = [*_java(options, "512m"), "kafka.Kafka", str(options.properties_file)]
    return process.Program("kafka", command, environ, options.log)


async def answers(options: BrokerOptions) -> bool:
    """Whether a client gets metadata with a broker in it: this folder's, and not of another system that was quicker to
    take the port."""
    bootstrap = options.bootstrap
    host, _, port = bootstrap.rpartition(":")
    try:  # before the client, which logs an error for each refused connection
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5000)
        await admin.start()
    except (OSError, KafkaError):
        return False
    try:
        cluster = await admin.describe_cluster()
        ours = options.stamp.read_text().partition(" ")[2]
        return cluster["cluster_id"] == ours and bool(cluster["brokers"])
    except KafkaError:
        return False
    finally:
        await admin.close()


class Broker:
    """The broker's process: ``start``, ``bootstrap``, ``stop``."""

    def __init__(self, options: BrokerOptions) -> None:
        self._options = options
        self._process: asyncio.subprocess.Process | None = None

    @property
    def bootstrap(self) -> str:
        return self._options.bootstrap

    async def start(self, timeout_s: float = 60.0) -> None:
        """Prepares the folder, starts the broker and waits until a client is answered. Raises BrokerFailed."""
        await asyncio.to_thread(prepare, self._options)
        self._process = await process.start(program(self._options, os.environ))
        deadline = time.monotonic() + timeout_s
        while not await answers(self._options):
            if self._process.returncode is not None or time.monotonic() > deadline:
                await self.stop()
                raise BrokerFailed(f"Kafka didn't start; its log ends with:\n{process.last_lines(self._options.log)}")
            await asyncio.sleep(0.1)

    async def stop(self) -> None:
        if self._process is not None:
            await process.stop(self._process, _STOP_PATIENCE_S)


def _java(options: BrokerOptions, heap: str) -> list[str]:
    return [
        str(options.java),
        f"-Xmx{heap}",
        "-XX:TieredStopAtLevel=1",  # a short life on few cores: the optimising compiler would cost more than it saves
        "-XX:+UseSerialGC",
        "-Djava.awt.headless=true",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
        "-cp",
        f"{options.libs.absolute()}/*",
    ]


def _end_broker_of(properties_file: Path) -> None:
    for found in psutil.process_iter(["cmdline"]):
        command = found.info["cmdline"] or []
        if command[-2:] == ["kafka.Kafka", str(properties_file)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                found.send_signal(signal.SIGTERM)
                if not _ends(found, _STOP_PATIENCE_S):
                    found.kill()


def _ends(found: psutil.Process, within_s: float) -> bool:
    """Whether it ends in time. (psutil's ``wait`` would reap a child of ours, and asyncio wait for it for ever.)"""
    deadline = time.monotonic() + within_s
    while found.is_running() and found.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
