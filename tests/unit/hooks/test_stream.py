"""What a stream logs of what made it begin again."""

import pytest
from aiokafka.errors import KafkaConnectionError

from agents.hooks.stream import is_foreseen
from app.store.publisher import PublishError

AWAY, BUG = KafkaConnectionError(), RuntimeError("a bug")


@pytest.mark.parametrize(
    ("error", "foreseen"),
    [
        (AWAY, True),
        (PublishError("away"), True),
        (BUG, False),
        (ExceptionGroup("tasks", [AWAY]), True),
        (ExceptionGroup("tasks", [AWAY, ExceptionGroup("more", [PublishError("away")])]), True),
        (ExceptionGroup("tasks", [AWAY, BUG]), False),
        (ExceptionGroup("tasks", [ExceptionGroup("more", [BUG])]), False),
    ],
)
def test_only_the_logs_absence_is_foreseen_alone_or_in_a_group(error: Exception, foreseen: bool) -> None:
    assert is_foreseen(error) is foreseen
