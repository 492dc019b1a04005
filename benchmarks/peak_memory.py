"""The peak of this process's resident memory, again and again."""

import threading
import time
from pathlib import Path

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
INTERVAL = 0.005  # seconds between samples, where the kernel's mark cannot be reset


class PeakMemory:
    """The peak since it was last asked for.

    It is Linux's own high-water mark, which misses nothing; where that may not be
    reset, the largest of samples, which can miss what is short.
    """

    def __init__(self):
        self._sampled = 0
        self._exact = _reset_high_water_mark()
        if not self._exact:
            threading.Thread(target=self._sample, daemon=True).start()

    @property
    def method(self) -> str:
        """How the peak is found."""
        return "high-water mark" if self._exact else f"samples every {INTERVAL} s"

    def take(self) -> int:
        """The peak in bytes, pages of mapped files included; the next begins here."""
        if self._exact:
            peak = _status("VmHWM")
            _reset_high_water_mark()
            return peak
        peak, self._sampled = max(self._sampled, _status("VmRSS")), 0
        return peak

    def _sample(self) -> None:
        while True:
            self._sampled = max(self._sampled, _status("VmRSS"))
            time.sleep(INTERVAL)


def _reset_high_water_mark() -> bool:
    try:
        CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True


def _status(field: str) -> int:
    """A field of the process's status, in bytes."""
    for line in STATUS.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise KeyError(f"{STATUS} has no {field}")
