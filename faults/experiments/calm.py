"""Nothing is broken but every fifth call to a provider: what all the others are measured against."""

from faults.scene import Experiment, Scene


async def _act(scene: Scene) -> None:
    await scene.more(1.0)


EXPERIMENTS = (Experiment("calm", "No fault but every fifth provider call refused: the steady state.", _act),)
