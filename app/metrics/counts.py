"""Counters and histograms whose labels come from records: cheap to count, and never more than so many series.

A role with tables counts some ten things for each notification, so a count is one look in a dict: a child of
prometheus_client's would take a lock, and finding it another. All of it happens in the event loop's thread, the metrics
are collected there too.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

#: The value of every label of what has no series of its own, as there are too many.
OTHER = "other"

Labels = tuple[str, ...]


class Counts(Collector):
    """A counter. ``most``: how many series it may have beside that of all the others. ``siblings``: the series that
    begin, at 0, along with a new one: of what fails now and then, Prometheus sees the first time only if it saw a 0."""

    def __init__(
        self,
        registry: CollectorRegistry,
        name: str,
        documentation: str,
        labels: Sequence[str],
        most: int = 5_000,
        siblings: Callable[[Labels], Iterable[Labels]] = lambda labels: (),
    ) -> None:
        self.name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._most = most
        self._siblings = siblings
        self._others: Labels = (OTHER,) * len(self._labels)
        self._values: OrderedDict[Labels, int] = OrderedDict()
        registry.register(self)

    def inc(self, labels: Labels, count: int = 1) -> None:
        values = self._values
        if labels in values:
            values[labels] += count
        else:
            self._begin(labels, count)
            self.show(self._siblings(labels))

    def show(self, series: Iterable[Labels]) -> None:
        """Has these series from the beginning: a rate needs a first value."""
        for labels in series:
            if labels not in self._values:
                self._begin(labels, 0)

    def describe(self) -> Iterator[CounterMetricFamily]:
        yield self._family()

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = self._family()
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        yield family

    def _begin(self, labels: Labels, count: int) -> None:
        if len(self._values) >= self._most:
            labels = self._others
        self._values[labels] = self._values.get(labels, 0) + count

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(self.name, self._documentation, labels=self._labels)


class LatestCounts(Counts):
    """A counter that keeps only the series that were counted latest."""

    def inc(self, labels: Labels, count: int = 1) -> None:
        super().inc(labels, count)
        self._values.move_to_end(labels)

    def _begin(self, labels: Labels, count: int) -> None:
        while len(self._values) >= self._most:
            self._values.popitem(last=False)
        self._values[labels] = count


class Durations(Collector):
    """A histogram of seconds. ``bounds``: of its buckets, ascending."""

    def __init__(
        self,
        registry: CollectorRegistry,
        name: str,
        documentation: str,
        labels: Sequence[str],
        bounds: Sequence[float],
        most: int = 1_000,
    ) -> None:
        self.name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._bounds = tuple(bounds)
        self._most = most
        self._others: Labels = (OTHER,) * len(self._labels)
        #: By labels: how many lie in each bucket, the last being what lies above all bounds; and their sum.
        self._values: dict[Labels, tuple[list[int], list[float]]] = {}
        registry.register(self)

    def observe(self, labels: Labels, seconds: float) -> None:
        seen = self._values.get(labels) or self._begin(labels)
        seen[0][bisect_left(self._bounds, seconds)] += 1
        seen[1][0] += seconds

    def describe(self) -> Iterator[HistogramMetricFamily]:
        yield self._family()

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = self._family()
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        for labels, (counts, (total,)) in self._values.items():
            up_to, buckets = 0, []
            for name, count in zip(names, counts, strict=True):
                up_to += count
                buckets.append((name, up_to))
            family.add_metric(labels, buckets=buckets, sum_value=total)
        yield family

    def _begin(self, labels: Labels) -> tuple[list[int], list[float]]:
        if len(self._values) >= self._most:
            labels = self._others
        return self._values.setdefault(labels, ([0] * (len(self._bounds) + 1), [0.0]))

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self.name, self._documentation, labels=self._labels)
