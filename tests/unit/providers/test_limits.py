"""A provider's limit is shared by the workers of its channel, by the partitions that each owns."""

from app.domain.policy import Rate
from app.providers.gate import Gate
from app.providers.limits import Limits
from schemas.words import Provider


class Heard(Gate):
    """A gate that remembers what it was limited to."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider, concurrency=10)
        self.rates: list[float | None] = []

    def limit(self, rate: float | None) -> None:
        self.rates.append(rate)
        super().limit(rate)


def test_a_worker_takes_its_partitions_share_and_another_one_when_they_move() -> None:
    gate = Heard("ses")
    limits = Limits([gate], partitions=8)
    limits.take_over({"ses": Rate(200, 1000)})
    assert gate.rates == []  # it owns nothing, so it calls nobody

    limits.own(8)
    limits.own(3)

    assert gate.rates == [200.0, 75.0]


def test_the_shares_of_all_workers_are_the_limit() -> None:
    gates = [Heard("ses") for _ in range(3)]
    for gate, owned in zip(gates, (3, 3, 2), strict=True):
        limits = Limits([gate], partitions=8)
        limits.own(owned)
        limits.take_over({"ses": Rate(600, 60_000)})

    assert sum(gate.rates[-1] or 0 for gate in gates) == 10.0


def test_a_new_policy_changes_and_lifts_limits() -> None:
    ses, sendgrid = Heard("ses"), Heard("sendgrid")
    limits = Limits([ses, sendgrid], partitions=1)
    limits.own(1)
    limits.take_over({"ses": Rate(3600, 3_600_000)})
    limits.take_over({"sendgrid": Rate(5, 1000)})

    assert (ses.rates, sendgrid.rates) == ([None, 1.0, None], [None, None, 5.0])
