"""The demonstration's policy: the default one and more, with times that run as fast as the flights."""

from typing import get_args

import pytest

from app.defaults import default_templates
from app.demo.flights import Happening
from app.demo.staging import demo_policy, demo_templates
from app.domain.policy import parse_policy
from app.domain.rendering import check_syntax
from schemas.config import Template, check_template


@pytest.mark.parametrize("speed", [1, 2400, 1_000_000])
def test_at_any_speed_it_is_a_policy_whose_templates_are_there(speed: float) -> None:
    parse_policy(demo_policy(speed), templates={*default_templates(), *demo_templates()})


def test_its_times_run_as_fast_as_the_flights_and_the_default_policys_do_not() -> None:
    policy = parse_policy(demo_policy(2400))
    noted = policy.rule_of("delay.noted").digest

    assert noted is not None
    assert noted.window_ms == 2 * 3_600_000 / 2400
    assert policy.rule_of("order.shipped").expires_after_ms == 48 * 3_600_000
    assert {cap.name: cap.window_ms for cap in policy.caps}["user-day"] == 24 * 3_600_000 / 2400


def test_no_time_is_too_short_for_a_machine() -> None:
    noted = parse_policy(demo_policy(1_000_000)).rule_of("delay.noted").digest

    assert noted is not None
    assert noted.window_ms == 1000


def test_all_that_is_told_of_flights_has_a_rule_of_its_own_and_a_template() -> None:
    policy = parse_policy(demo_policy(2400))

    for happening in get_args(Happening):
        assert policy.rule_of(happening).name == happening
        assert policy.rule_of(happening).template


def test_its_templates_are_sound() -> None:
    for name, document in demo_templates().items():
        template = Template(id=name, channels=document["channels"])
        check_template(template)
        assert check_syntax(template) == []
