"""The Ray engine on a machine that there is not, by the engine's own rules.

A job begins where there is a core and the memory that it declares. Where one waits for
much memory and others overtake it, none is given before it has begun. A process does
one job after the other, and is replaced after so many.
"""

import dataclasses
import heapq
import itertools
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True)
class Kind:
    """What converting one architecture takes, on one thread.

    Attributes:
        name: The release's name of it.
        start: CPU seconds of a process beside its conversions.
        first: CPU seconds of the first conversion.
        again: CPU seconds of one after it.
        peak: The most memory in use, in bytes.
        declared: How much of it the engine sets aside.
        source: Bytes of the checkpoint.
        bundle: Bytes of what is written.
    """

    name: str
    start: float
    first: float
    again: float
    peak: int
    declared: int
    source: int
    bundle: int


@dataclasses.dataclass(frozen=True)
class Simulation:
    """What became of jobs on a machine that there is not.

    Attributes:
        seconds: Until all were done.
        busy: Seconds of all cores together, in which they had something to do.
        at_once: How many ran at once, at most.
        declared: The most memory that was set aside at once, in bytes.
        peak: The most that was in use, if all that ran at once had their peaks.
    """

    seconds: float
    busy: float
    at_once: int
    declared: int
    peak: int


def simulated(
    jobs: Iterable[Kind], cores: int, memory: float, calls: int
) -> Simulation:
    """What becomes of jobs, each on a core of its own.

    Args:
        jobs: In the order in which they are given.
        cores: How many the machine has; so many are given before one has ended.
        memory: Bytes that all may declare together; one that declares more gets all.
        calls: After how many jobs another process takes one's place.
    """
    machine = _Machine(memory, calls)
    waiting: list[tuple[Kind, bool]] = []  # and whether one that was given later runs
    given, job = iter(jobs), None
    while True:
        while len(waiting) + len(machine.running) < cores and not any(
            overtaken for _, overtaken in waiting
        ):
            if (job := next(given, None)) is None:
                break
            waiting.append((job, False))
        left: list[tuple[Kind, bool]] = []
        for job, overtaken in waiting:
            if machine.has_room(job):
                machine.start(job)
                left = [(earlier, True) for earlier, _ in left]
            else:
                left.append((job, overtaken))
        waiting = left
        if not machine.running:
            return machine.found
        machine.end_one()


class _Machine:
    """Processes that convert, and what they took so far."""

    def __init__(self, memory: float, calls: int):
        self.running: list[tuple[float, int, int, Kind]] = []  # by their ends
        self.found = Simulation(0.0, 0.0, 0, 0, 0)
        self._memory, self._calls = memory, calls
        self._idle: list[
            tuple[int, str]
        ] = []  # jobs a process did, and the last's name
        self._numbers = (
            itertools.count()
        )  # of what ends at one time, the first is first

    def has_room(self, job: Kind) -> bool:
        return self._declared() + min(job.declared, self._memory) <= self._memory

    def start(self, job: Kind) -> None:
        done, last = self._idle.pop() if self._idle else (0, "")
        seconds = job.again if job.name == last else job.first
        seconds += 0 if done else job.start
        end = self.found.seconds + seconds
        heapq.heappush(self.running, (end, next(self._numbers), done + 1, job))
        self.found = dataclasses.replace(
            self.found,
            busy=self.found.busy + seconds,
            at_once=max(self.found.at_once, len(self.running)),
            declared=max(self.found.declared, self._declared()),
            peak=max(self.found.peak, sum(job.peak for *_, job in self.running)),
        )

    def end_one(self) -> None:
        """Goes on to the moment at which the next job is done."""
        now, _, done, job = heapq.heappop(self.running)
        if done < self._calls:
            self._idle.append((done, job.name))
        self.found = dataclasses.replace(self.found, seconds=now)

    def _declared(self) -> int:
        return sum(min(job.declared, self._memory) for *_, job in self.running)
