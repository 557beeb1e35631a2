"""The experiments, one file a family."""

from faults.experiments import (
    attacks,
    brokers,
    calm,
    campaigns,
    clocks,
    disks,
    failover,
    hostile,
    killing,
    live,
    membership,
    providers,
    replays,
    upstream,
)
from faults.scene import Experiment

#: By name, in the order in which they are run.
EXPERIMENTS: dict[str, Experiment] = {
    each.name: each
    for family in (
        calm,
        upstream,
        hostile,
        attacks,
        providers,
        failover,
        replays,
        campaigns,
        killing,
        live,
        membership,
        brokers,
        disks,
        clocks,
    )
    for each in family.EXPERIMENTS
}
