"""The command line ``tocsin``: a table of commands, each in a file of its own that is imported when it is called."""

import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import typer

from app.cli.output import Refused
from app.private import keep_private

#: name: (module, attribute, one line of help). The attribute is a function, or a typer.Typer with commands of its own.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "dev": ("app.cli.dev", "dev", "Run the whole system on this machine, with the provider sandbox."),
    "demo": ("app.cli.demo", "demo", "Run the whole system, and play two days of real flights through it."),
    "gateway": ("app.cli.roles", "gateway", "Run the HTTP gateway."),
    "worker": ("app.cli.roles", "worker", "Run a worker: router, push, email, sms, in_app, analytics or hooks."),
    "send": ("app.cli.send", "send", "Send a notification through the gateway."),
    "why": ("app.cli.why", "why", "Explain why a recipient got a notification, or didn't."),
    "replay": ("app.cli.replay", "app", "Send again what a channel failed to deliver, after an outage for instance."),
    "campaign": ("app.cli.campaign", "app", "Send a message to many users; show, pause, resume or cancel it."),
    "query": ("app.cli.query", "query", "Ask ClickHouse, by SQL, what happened to notifications."),
    "query-user": ("app.cli.query_user", "app", "Make users for other tools that ask ClickHouse; list and drop them."),
    "export": ("app.cli.export", "export", "Write a range of a ClickHouse table into files, with a manifest."),
    "experiments": ("app.cli.experiments", "app", "Show whether the variants of a campaign or a template differ."),
    "templates": ("app.cli.templates", "app", "Write, list and preview templates."),
    "policy": ("app.cli.policy", "app", "Check a policy, put it in force, show what it would change."),
    "provider": ("app.cli.provider", "app", "Show how providers are doing; pause and resume them."),
    "simulate": ("app.cli.simulate", "simulate", "Show what another policy would have made of what is recorded."),
    "audit": ("app.cli.audit", "audit", "Prove that nothing was lost, changed or made up; say what isn't covered."),
    "topics": ("app.cli.topics", "app", "Create, correct and check the Kafka topics."),
    "keys": ("app.cli.keys", "app", "Create, list and revoke API keys."),
    "dead": ("app.cli.dead", "app", "List, show and put back records that couldn't be taken."),
    "outbox": ("app.cli.outbox", "app", "Bring requests from a service's own PostgreSQL to Kafka."),
    "audit-log": ("app.cli.audit_log", "audit_log", "Show who changed what, when, and from where."),
    "doctor": ("app.cli.doctor", "doctor", "Check everything that Tocsin needs, and say what to do."),
}

_OURS = ("app", "agents", "tables", "schemas")


def build(arguments: Sequence[str]) -> typer.Typer:
    """The application, with the command that the arguments call imported and the others only named."""
    app = typer.Typer(
        name="tocsin",
        help="Tocsin, a notification system. Settings: the TOML file that TOCSIN_CONFIG names, else of the running "
        "`tocsin dev`; any key by TOCSIN_SECTION__KEY.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
    )
    app.callback()(_no_options)
    called = next((argument for argument in arguments if not argument.startswith("-")), None)
    for name, (module, attribute, words) in COMMANDS.items():
        if name != called:
            app.command(name, help=words)(_no_options)
        elif isinstance(found := getattr(import_module(module), attribute), typer.Typer):
            app.add_typer(found, name=name, help=words, no_args_is_help=True)
        else:
            app.command(name, no_args_is_help=False)(found)
    return app


def main() -> None:
    """Runs a command; what is refused is one line on standard error and exit status 1."""
    keep_private()
    logging.getLogger().addHandler(logging.NullHandler())  # what a library logs is no output of a command
    try:
        build(sys.argv[1:])()
    except Refused as error:
        _refuse(str(error))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in _OURS:
            raise
        _refuse(f"{error.name} isn't installed: use a checkout (make setup), or install tocsin[local]")


def _refuse(reason: str) -> NoReturn:
    print(f"tocsin: {reason}", file=sys.stderr)
    sys.exit(1)


def _no_options() -> None:
    """Nothing: stands for commands that aren't called, and for options that ``tocsin`` itself doesn't have."""
