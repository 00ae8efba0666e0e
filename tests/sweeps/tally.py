"""What a sweep has tried and what went wrong, and the time that it may take."""

import random
import time
from dataclasses import dataclass, field

from segline.monitoring import console

Random = random.Random
PROGRESS = 30  # seconds between lines


class Clock:
    """The end of a sweep, `seconds` from now."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds."""
        return self._end - time.monotonic()


@dataclass
class Tally:
    """A kind of fault, how often it was tried, of how often it was asked for, and each trial that went wrong."""

    kind: str
    asked: int
    success: str
    tried: int = 0
    faults: list[str] = field(default_factory=list)
    _said: float = field(default_factory=time.monotonic)

    def note(self, trial: str, fault: str | None) -> None:
        """Counts a trial, and says at once what went wrong."""
        self.tried += 1
        if fault:
            self.faults.append(f"{self.kind}: {trial}: {fault}")
            console.say(self.faults[-1])
        if time.monotonic() - self._said > PROGRESS:
            self._said = time.monotonic()
            console.say(f"sweep: {self.kind} {self.tried}/{self.asked}")

    @property
    def line(self) -> str:
        """ "kills 20: 20 recovered with the reference model"."""
        of = "" if self.tried == self.asked else f" of {self.asked} (the time was up)"
        return f"{self.kind} {self.tried}{of}: {self.tried - len(self.faults)} {self.success}"
