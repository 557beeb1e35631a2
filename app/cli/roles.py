"""``tocsin gateway`` and ``tocsin worker ROLE``: one role in the foreground, until SIGTERM."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from app import logs
from app.cli.settings import check_certificates, check_tracing, environment, load_secret, load_settings


class Role(StrEnum):
    """The workers' roles."""

    router = "router"
    push = "push"
    email = "email"
    sms = "sms"
    in_app = "in_app"
    analytics = "analytics"
    hooks = "hooks"


def gateway() -> None:
    """Run the HTTP gateway until SIGTERM.

    Example: `TOCSIN_CONFIG=/etc/tocsin.toml tocsin gateway`
    """
    settings = load_settings()
    load_secret(settings)
    check_certificates(settings, gateway=True)
    check_tracing(settings)
    logs.configure(console=sys.stderr.isatty())
    from app.wiring import run_gateway

    run_gateway(settings, environment())


def worker(role: Annotated[Role, typer.Argument(help="The worker's role.")]) -> None:
    """Run one worker until SIGTERM. Give each worker of a role on one machine its own TOCSIN_INSTANCE.

    Example: `TOCSIN_CONFIG=/etc/tocsin.toml TOCSIN_INSTANCE=2 tocsin worker router`
    """
    settings = load_settings()
    if role is not Role.analytics:
        load_secret(settings)
    check_certificates(settings)
    check_tracing(settings)
    logs.configure(console=sys.stderr.isatty())
    from app.wiring import run_worker

    run_worker(role.value, settings)
