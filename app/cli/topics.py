"""``tocsin topics``: the Kafka topics as they must be."""

import asyncio
from collections.abc import Coroutine
from typing import Annotated, Any, TypeVar

import typer
from aiokafka.errors import KafkaError

from app.cli.kafka import refused_by_kafka
from app.cli.output import AsJson, Refused, print_rows
from app.cli.settings import load_settings
from app.store import topics

app = typer.Typer()

Answer = TypeVar("Answer")


@app.command()
def apply(as_json: AsJson = False) -> None:
    """Create missing topics and correct their retention. Running it again changes nothing.

    Example: `tocsin topics apply`
    """
    from app.wiring import internal_tables

    settings = load_settings()
    applied = _asked(settings.kafka.bootstrap, topics.apply(settings.kafka, internal_tables(), settings.data.erasure))
    rows = [{"topic": name, "change": "created"} for name in applied.created]
    rows += [{"topic": name, "change": "corrected"} for name in applied.corrected]
    if rows or as_json:
        print_rows(rows, ("topic", "change"), as_json=as_json)
    else:
        print("All topics are as declared.")


@app.command()
def check(as_json: AsJson = False) -> None:
    """List topics that differ from their declaration; exit status 1 if there are any.

    Example: `tocsin topics check --json`
    """
    from app.wiring import internal_tables

    settings = load_settings()
    problems = _asked(settings.kafka.bootstrap, topics.check(settings.kafka, internal_tables(), settings.data.erasure))
    if problems or as_json:
        print_rows([{"problem": problem} for problem in problems], ("problem",), as_json=as_json)
    else:
        print("All topics are as declared.")
    if problems:
        raise typer.Exit(1)


@app.command()
def acl(
    bootstrap: Annotated[str, typer.Option(help="Brokers for the printed commands; default: kafka.bootstrap.")] = "",
) -> None:
    """Print one `kafka-acls.sh --add` line for each right that Tocsin's roles and its producers need in Kafka.

    Roles are `User:tocsin-ROLE`, the commands `User:tocsin-cli`, services `User:producer`. Add what your clients log in
    with: `kafka-acls.sh` takes it in a file, `--command-config admin.properties`.

    Example: `tocsin topics acl --bootstrap kafka-1:9092 > acls.sh`
    """
    from app.store.rights import acl_command, rights
    from app.wiring import internal_tables, kafka_accesses

    settings = load_settings()
    declared = [topic.name for topic in topics.declare(settings.kafka, internal_tables())]
    for right in rights(kafka_accesses(), declared):
        print(acl_command(right, bootstrap or settings.kafka.bootstrap))


def _asked(bootstrap: str, question: Coroutine[Any, Any, Answer]) -> Answer:
    try:
        return asyncio.run(question)
    except topics.TopicsError as error:
        raise Refused(str(error)) from None
    except KafkaError as error:
        raise refused_by_kafka(bootstrap, error) from None
