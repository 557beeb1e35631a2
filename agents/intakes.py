"""What every channel's role reads, in the order of its urgency."""

from app.ports import Intake, LogRecord, Urgency
from schemas.topics import COMMANDS, SEND_TOPICS
from schemas.words import Channel


def channel_intakes(channel: Channel) -> tuple[Intake, ...]:
    """The channel's sends, each judged only when the commands before it are known."""
    critical, normal, bulk = SEND_TOPICS[channel]
    return (
        Intake(COMMANDS, Urgency.COMMANDS, gated=False, owned=False),
        Intake(critical, Urgency.CRITICAL),
        Intake(normal, Urgency.NORMAL),
        Intake(bulk, Urgency.BULK),
    )


def position_of(record: LogRecord) -> str:
    """Names a record by where it lies."""
    return f"{record.topic}:{record.partition}:{record.offset}"
