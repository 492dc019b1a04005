"""What every measurement needs: a process of its own, its conditions, a table."""

import contextlib
import multiprocessing
import os
import random
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

CORES = len(os.sched_getaffinity(0))
REST = 0.05  # seconds before each timed call
WARM_UP = 3  # calls, the first of which compiles


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function` returns in a new interpreter, where nothing is imported yet.

    Args:
        function: One of a module's; called without the flags having been parsed.
        *arguments: Given to it; like its result, they must pickle.
    """
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as pool:
        return pool.submit(function, *arguments).result()


def material(name: str, batch: int, **arguments: Any) -> tuple:
    """A model's configuration, random weights, and `batch` random images.

    Args:
        name: timm's.
        batch: Number of images.
        **arguments: Constructor arguments to change.
    """
    from vit_tf import get_config
    from vit_tf.proof import random_images
    from vit_tf.source import read

    config = get_config(name, **arguments)
    config.parity.images = batch
    return config, read(config, "random:0").tensors, random_images(config)


def timed(contenders: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The median milliseconds of each, called in turn."""
    for call in contenders.values():
        for _ in range(WARM_UP):
            call()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    order = random.Random(0)
    for _ in range(rounds):
        for name in order.sample(list(contenders), len(contenders)):
            time.sleep(REST)
            begin = time.perf_counter()
            contenders[name]()
            times[name].append(1e3 * (time.perf_counter() - begin))
    return {name: statistics.median(values) for name, values in times.items()}


@contextlib.contextmanager
def conditions(say: Callable[[str], None] = print) -> Iterator[None]:
    """Says, at its end, the machine, the versions, and what others did meanwhile."""
    busy, begin = _busy_elsewhere(), time.monotonic()
    yield
    available = (time.monotonic() - begin) * os.cpu_count()
    share = (_busy_elsewhere() - busy) / available
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    distributions = packages_distributions()
    packages = [
        f"{module} {version(distributions[module][0])}"
        for module in ("tensorflow", "keras", "torch", "timm")
    ]
    say(", ".join([f"{CORES} cores", *names[:1], *packages]))
    say(f"other processes used {share:.0%} of the cores meanwhile")


def table(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Aligned columns: text to the left, numbers to the right with two decimals.

    Args:
        header: The columns' names.
        rows: str, int, float, or None for an empty cell.
    """
    rows = [list(row) for row in rows]
    cells = [list(header)] + [[_text(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    textual = [isinstance(value, str) for value in rows[0]]
    return "\n".join(
        "  ".join(
            text.ljust(width) if left else text.rjust(width)
            for text, width, left in zip(line, widths, textual, strict=True)
        ).rstrip()
        for line in cells
    )


def cpu_of_children() -> float:
    """CPU seconds so far of all processes that this one started, once they ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,.2f}" if isinstance(value, float) else str(value)


def _busy_elsewhere() -> float:
    """CPU seconds so far of all processes but this one and its finished children."""
    ticks = [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = ticks[:8]
    everyone = user + nice + system + irq + softirq + steal
    return everyone / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])
