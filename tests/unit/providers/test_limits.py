"""A provider's limit is shared by the workers of its channel, by the partitions that each owns."""

from hypothesis import given
from hypothesis import strategies as st

from app.domain.policy import ProviderChoice, Rate, WarmUp, parse_policy
from app.providers.gate import Gate
from app.providers.limits import Limits
from schemas.words import Provider

DAY = 86_400_000
#: 2026-12-01T00:00:00Z.
FIRST_DAY = 1_796_083_200_000


class Clock:
    now = FIRST_DAY

    def __call__(self) -> int:
        return self.now


def limits_of(gates: list[Gate], partitions: int, clock: Clock | None = None) -> Limits:
    return Limits(gates, partitions, clock or Clock())


def choice(**limits: Rate) -> ProviderChoice:
    return ProviderChoice(("ses", "sendgrid"), limits)  # type: ignore[arg-type]


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
    limits = limits_of([gate], 8)
    limits.take_over(choice(ses=Rate(200, 1000)))
    assert gate.rates == []  # it owns nothing, so it calls nobody

    limits.own(8)
    limits.own(3)

    assert gate.rates == [200.0, 75.0]


def test_the_shares_of_all_workers_are_the_limit() -> None:
    gates = [Heard("ses") for _ in range(3)]
    for gate, owned in zip(gates, (3, 3, 2), strict=True):
        limits = limits_of([gate], 8)
        limits.own(owned)
        limits.take_over(choice(ses=Rate(600, 60_000)))

    assert sum(gate.rates[-1] or 0 for gate in gates) == 10.0


def test_a_new_policy_changes_and_lifts_limits() -> None:
    ses, sendgrid = Heard("ses"), Heard("sendgrid")
    limits = limits_of([ses, sendgrid], 1)
    limits.own(1)
    limits.take_over(choice(ses=Rate(3600, 3_600_000)))
    limits.take_over(choice(sendgrid=Rate(5, 1000)))

    assert (ses.rates, sendgrid.rates) == ([None, 1.0, None], [None, None, 5.0])


def test_a_domain_is_warmed_up_by_twice_as_much_in_each_period() -> None:
    text = "providers: {email: {warm_up: {ses: {start: 50/d, double_every: 1d, since: 2026-12-01}}}}"
    gate, clock = Heard("ses"), Clock()
    limits = limits_of([gate], 8, clock)
    limits.take_over(parse_policy(text).providers["email"])
    limits.own(4)

    of_a_day = []
    for days in (-1, 0, 0.999, 1, 2, 9.5):
        clock.now = FIRST_DAY + round(days * DAY)
        limits.look()
        of_a_day.append(round((gate.rate or 0) * 86_400, 6))

    assert of_a_day == [25, 25, 25, 50, 100, 25 * 2**9]
    assert gate.limited_by == "warm_up"


def test_a_plan_of_many_years_stays_a_number() -> None:
    plan = WarmUp(Rate(1, 1000), 1, 0)
    assert 0 < plan.per_second(4_000_000_000_000) < float("inf")


def test_a_limit_below_the_plan_holds_and_so_does_a_plan_that_is_dropped() -> None:
    gate = Heard("ses")
    limits = limits_of([gate], 1)
    limits.own(1)
    plan = WarmUp(Rate(600, 60_000), DAY, FIRST_DAY)

    limits.take_over(ProviderChoice(("ses",), {"ses": Rate(5, 1000)}, {"ses": plan}))
    assert (gate.rate, gate.limited_by) == (5.0, "limit")
    limits.take_over(ProviderChoice(("ses",), {"ses": Rate(50, 1000)}, {"ses": plan}))
    assert (gate.rate, gate.limited_by) == (10.0, "warm_up")
    limits.take_over(ProviderChoice(("ses",)))
    assert (gate.rate, gate.limited_by) == (None, None)


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=40), st.integers(1, 100))
def test_restarts_add_nothing_to_a_plan(pauses: list[float], a_day: int) -> None:
    """A worker that begins anew, however often, lets begin no more than one that goes on, and hardly less."""
    clock, seconds = Clock(), [0.0]
    plan = WarmUp(Rate(a_day, DAY), 400 * DAY, FIRST_DAY)
    begun, called = clock.now, 0
    for hours in pauses:
        gate = Gate("ses", concurrency=10, clock=lambda: seconds[0])
        limits = limits_of([gate], 1, clock)
        limits.take_over(ProviderChoice(("ses",), {}, {"ses": plan}))
        limits.own(1)
        for _ in range(20):
            if not gate.has_warmed_enough():
                gate._plan.spend(seconds[0])  # type: ignore[union-attr]
                called += 1
            clock.now += round(hours * 3_600_000 / 20)
            seconds[0] += hours * 3600 / 20

    planned = (clock.now - begun) / DAY * a_day
    assert 0.7 * planned - len(pauses) - 1 <= called <= planned + 1
