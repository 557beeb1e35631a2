"""The experiments, one file a family."""

from faults.experiments import brokers, calm, clocks, disks, killing, membership, providers, upstream
from faults.scene import Experiment

_FAMILIES = (calm, upstream, providers, killing, membership, brokers, disks, clocks)

#: By name, in the order in which they are run.
EXPERIMENTS: dict[str, Experiment] = {each.name: each for family in _FAMILIES for each in family.EXPERIMENTS}

#: The experiments of each family as one, which costs one wait for quiet instead of several.
FAMILIES: dict[str, Experiment] = {
    name: Experiment.together(name, family.EXPERIMENTS)
    for family in _FAMILIES
    if (name := family.__name__.rpartition(".")[2])
}
