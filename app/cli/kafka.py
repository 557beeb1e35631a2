"""What commands say where Kafka doesn't do what they ask of it."""

from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
)

from app.cli.output import Refused


def refused_by_kafka(bootstrap: str, error: KafkaError) -> Refused:
    """The error in one line, with what to do about it."""
    match error:
        case KafkaConnectionError():
            return Refused(
                f"no Kafka answers at {bootstrap}: start it (`tocsin dev` runs one on this machine), or set"
                " kafka.bootstrap, and kafka.security_protocol where it asks for TLS or SASL"
            )
        case ClusterAuthorizationFailedError() | GroupAuthorizationFailedError() | TopicAuthorizationFailedError():
            return Refused(
                f"Kafka at {bootstrap} doesn't allow it ({type(error).__name__}): `tocsin topics acl` prints the rights"
            )
        case _:
            return Refused(f"Kafka at {bootstrap} refuses it ({error}): `tocsin doctor` may say more")
