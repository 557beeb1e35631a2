"""The roles that there are, and what each keeps, reads and writes."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from app.config import Settings, installation_secret, suppression_keys
from app.domain.catalog import Catalog
from schemas.topics import (
    BATCHES,
    PROVIDERS,
)
from schemas.words import CHANNELS, Channel, Provider

if TYPE_CHECKING:
    from agents.inbox.machine import InAppMachine
    from agents.router.machine import RouterMachine
    from app.store.rights import Access

SENDING: tuple[Channel, ...] = ("push", "email", "sms")
#: The roles that keep tables, and so run on Faust.
KEEPING = ("router", *CHANNELS)
ROLES = (*KEEPING, "analytics", "hooks")


def internal_tables() -> dict[str, Sequence[str]]:
    """The tables of every role, for the declaration of their changelogs."""
    from agents.inbox.machine import InAppMachine
    from agents.router.machine import RouterMachine
    from agents.sender.machine import SenderMachine

    sending: dict[str, Sequence[str]] = dict.fromkeys(SENDING, SenderMachine.tables)
    return {"router": RouterMachine.tables, "in_app": InAppMachine.tables, **sending}


def kafka_accesses() -> dict[str, "Access"]:
    """What every process does in Kafka, by its principal."""
    from agents.inbox.machine import InAppMachine
    from agents.router.machine import RouterMachine
    from agents.sender.machine import SenderMachine
    from agents.shared.subscriptions import sender_subscriptions
    from app.store.rights import (
        ANALYTICS,
        CLI,
        COMMAND_LINE,
        GATEWAY,
        HOOK_CALLER,
        PRODUCER,
        SERVICES,
        auditing,
        keeping,
    )

    reads = {"router": RouterMachine.subscriptions, "in_app": InAppMachine.subscriptions}
    reads |= {channel: sender_subscriptions(channel) for channel in SENDING}
    writes = {"router": RouterMachine.outputs, "in_app": InAppMachine.outputs}
    writes |= dict.fromkeys(SENDING, (*SenderMachine.outputs, PROVIDERS))
    followed: dict[str, Sequence[str]] = dict.fromkeys(SENDING, (PROVIDERS,))
    writes |= {role: (*writes[role], BATCHES) for role in DECIDING}
    return {
        PRODUCER: SERVICES,
        "tocsin-gateway": GATEWAY,
        "tocsin-analytics": ANALYTICS,
        "tocsin-hooks": HOOK_CALLER,
        CLI: auditing(COMMAND_LINE, internal_tables()),
        **{
            f"tocsin-{role}": keeping(
                role, tables, [*(intake.topic for intake in reads[role]), *followed.get(role, ())], writes[role]
            )
            for role, tables in internal_tables().items()
        },
    }


def router_machine(settings: Settings, catalog: Catalog) -> "RouterMachine":
    """The router's decisions, as every process with these settings makes them."""
    from agents.router.machine import RouterMachine

    return RouterMachine(
        catalog,
        partitions=settings.kafka.partitions,
        providers=providers_by_channel(settings),
        secret=installation_secret(settings),
        former_secrets=suppression_keys(settings).former,
    )


def in_app_machine(settings: Settings, catalog: Catalog) -> "InAppMachine":
    """The inbox's decisions, as every process with these settings makes them."""
    from agents.inbox.machine import InAppMachine

    partitions, keys = settings.kafka.partitions, suppression_keys(settings)
    return InAppMachine(catalog, partitions=partitions, keys=keys, links=settings.links)


#: The roles whose batches are recorded, and their machines: what they decide follows from the log alone.
DECIDING: Final[Mapping[str, Callable[[Settings, Catalog], Any]]] = {
    "router": router_machine,
    "in_app": in_app_machine,
}


def providers_by_channel(settings: Settings) -> dict[Channel, frozenset[Provider]]:
    """The providers of each channel that have settings and a client; the inbox is always there."""
    from app.providers.registry import CLIENTS

    configured = settings.providers.configured()
    sending = {
        channel: frozenset(p for p, (its, _, _) in CLIENTS.items() if its == channel and p in configured)
        for channel in SENDING
    }
    return {**sending, "in_app": frozenset(("inbox",))}
