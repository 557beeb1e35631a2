"""The settings of a command: of TOCSIN_CONFIG, else of the system that ``tocsin dev`` runs here."""

import os
from pathlib import Path

from app.cli.output import Refused
from app.config import CONFIG_VARIABLE, BadCertificate, ConfigError, NoSecret, Settings, installation_secret
from app.dev.state import dev_environment, read_state


def environment() -> dict[str, str]:
    """The process's environment; below it, where TOCSIN_CONFIG is unset, that of the running system."""
    state = None if os.environ.get(CONFIG_VARIABLE) else read_state()
    return {**(dev_environment(state) if state else {}), **os.environ}


def load_settings() -> Settings:
    """Raises Refused, with the name of the key."""
    try:
        return Settings.load(environment())
    except ConfigError as error:
        raise Refused(str(error)) from None


def load_secret(settings: Settings) -> bytes:
    """The installation's secret. Raises Refused where it can't be read."""
    try:
        return installation_secret(settings)
    except NoSecret as error:
        raise Refused(str(error)) from None


def check_certificates(settings: Settings, *, gateway: bool = False) -> None:
    """Raises Refused where the operations port's can't be used, or the gateway's."""
    try:
        settings.operations.server_tls()
        settings.operations.client_tls()
        if gateway:
            settings.gateway.server_tls()
    except BadCertificate as error:
        raise Refused(str(error)) from None


def check_tracing(settings: Settings) -> None:
    """Raises Refused where traces are asked for and what makes them isn't installed."""
    if settings.tracing.endpoint is None:
        return
    from app.tracing import TracingUnavailable, check_installed

    try:
        check_installed()
    except TracingUnavailable as error:
        raise Refused(str(error)) from None


def settings_file() -> Path:
    """The file that holds the settings. Raises Refused if there is none."""
    path = environment().get(CONFIG_VARIABLE)
    if not path:
        raise Refused(f"there is no settings file: set {CONFIG_VARIABLE} to one, or start `tocsin dev`")
    return Path(path)
