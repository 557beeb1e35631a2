"""Records what a batch was, beside what it produces, so that it can be decided again (docs/decisions/0021-audit.md)."""

from collections.abc import Callable

from app.domain.out import Produce
from app.revision import code_mark
from schemas.batches import Batch, Drawn, Step, digest_of_outputs, encode_batch
from schemas.topics import BATCHES

#: So many draws that came to nothing are recorded with the next one; of more, the oldest aren't.
_MOST_STEPS = 200


class BatchRecorder:
    """One partition's. ``catalog_mark``: names what is in force; None: nothing is recorded."""

    def __init__(self, role: str, catalog_mark: Callable[[], bytes] | None) -> None:
        self._role = role
        self._catalog_mark = catalog_mark
        self._steps: list[Step] = []

    def note(self, now: int, drawn: list[Drawn]) -> None:
        """What was drawn at ``now`` (Unix ms)."""
        if drawn and self._catalog_mark is not None:
            self._steps.append(Step(now, drawn))
            del self._steps[:-_MOST_STEPS]

    def recorded(self, outputs: list[Produce], after: int) -> list[Produce]:
        """What the checkpoint produces, the record of its batch included. ``after``: see ``Batch``."""
        if self._catalog_mark is None or not self._steps:
            return outputs
        steps, self._steps = self._steps, []
        digest, code = digest_of_outputs(outputs), code_mark()
        batch = Batch(after, steps, self._catalog_mark(), len(outputs), digest, code, self._role)
        return [*outputs, Produce(BATCHES, None, encode_batch(batch))]
