"""What commands say where Kafka doesn't do what they ask of it."""

import pytest
from aiokafka.errors import InvalidReplicationFactorError, KafkaConnectionError, TopicAuthorizationFailedError
from typer.testing import CliRunner

from app.cli.kafka import refused_by_kafka
from app.cli.output import Refused
from app.cli.topics import app


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (KafkaConnectionError("Unable to bootstrap"), "kafka.bootstrap"),
        (TopicAuthorizationFailedError("notify_events"), "tocsin topics acl"),
        (InvalidReplicationFactorError(), "tocsin doctor"),
    ],
)
def test_every_error_names_the_broker_and_a_remedy(error: Exception, remedy: str) -> None:
    said = str(refused_by_kafka("kafka-1:9092", error))

    assert "kafka-1:9092" in said
    assert remedy in said


@pytest.mark.parametrize("command", ["check", "apply"])
def test_topics_say_what_to_do_where_no_broker_answers(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setenv("TOCSIN_KAFKA__BOOTSTRAP", "127.0.0.1:1")
    with pytest.raises(Refused, match=r"no Kafka answers at 127\.0\.0\.1:1: start it .* or set kafka\.bootstrap"):
        CliRunner().invoke(app, [command], catch_exceptions=False)
