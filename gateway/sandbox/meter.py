"""What one rendering may use, and the account of it. Knows no template: it counts steps, characters and CPU seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jinja2 import Undefined


class Exceeded(Exception):
    """Raised when a rendering has used what it may use; the message says what ran out."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The budget of one rendering.

    `output_chars` bounds the result; `chars` all text that is made on the way (a string built up in
    a loop is made again and again), so a rendering holds at most 4 bytes times that. `steps` makes
    the bound the same on every machine; `seconds` of CPU catches what steps weigh too lightly.
    """

    output_chars: int = 1 << 20
    chars: int = 8 << 20
    steps: int = 100_000
    seconds: float = 0.05


# The clock is read once in so many steps: a small prompt never reads it (0.3 µs a reading), and 500
# steps take well under 1 ms.
STEPS_BETWEEN_CLOCKS = 500


class Meter:
    """The account of one rendering. What changes here: `steps`, `chars` and when the clock is read next."""

    __slots__ = ("_clock", "_next_clock", "_started", "chars", "limits", "steps")

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self.limits = limits
        self.steps = 0
        self.chars = 0
        self._clock = clock
        self._started: float | None = None
        self._next_clock = 0

    def __repr__(self) -> str:
        return f"Meter(steps={self.steps}, chars={self.chars})"

    def charge(self, steps: int, chars: int = 0) -> None:
        """Pay for work about to be done. Raises Exceeded, before the work, when there is no budget for it."""
        self.steps += steps
        self.chars += chars
        # Text costs time too: 1 KiB copied is about a step.
        if self.steps + (self.chars >> 10) >= self._next_clock or self.chars > self.limits.chars:
            self._check()

    def _check(self) -> None:
        if self.chars > self.limits.chars:
            raise Exceeded(f"it makes more than {self.limits.chars} characters of text")
        if self.steps > self.limits.steps:
            raise Exceeded(f"it takes more than {self.limits.steps} steps")
        if self._next_clock == 0:
            self._next_clock = STEPS_BETWEEN_CLOCKS
            return
        now = self._clock()
        if self._started is None:
            self._started = now
        if now - self._started > self.limits.seconds:
            raise Exceeded(f"it takes more than {self.limits.seconds * 1000:g} ms")
        self._next_clock = self.steps + (self.chars >> 10) + STEPS_BETWEEN_CLOCKS

    def touch(self, value: object) -> None:
        """Pay for comparing or hashing `value`: `[a, a]` nested thirty deep has a billion leaves."""
        if isinstance(value, str):
            if len(value) > 1024:
                self.charge(len(value) >> 10)
        elif isinstance(value, (list, tuple, dict)):
            self.weigh(value)

    def weigh(self, value: object) -> int:
        """The characters that `str(value)` makes, about; pays for them and for the walk, leaf by leaf.

        Raises UndefinedError at an undefined leaf and TypeError at one that is no JSON.
        """
        before = self.chars
        waiting = [value]
        while waiting:
            found = waiting.pop()
            if isinstance(found, dict):
                self.charge(1 + len(found), 2 + 4 * len(found))
                waiting.extend(found)
                waiting.extend(found.values())
            elif isinstance(found, (list, tuple)):
                self.charge(1 + len(found), 2 + 2 * len(found))
                waiting.extend(found)
            else:
                self.charge(0, _leaf(found))
        return self.chars - before


def _leaf(value: object) -> int:
    if isinstance(value, str):
        return len(value) + 2
    if isinstance(value, int):
        return 5 + value.bit_length() // 3
    if value is None or isinstance(value, (float, range)):
        return 24
    if isinstance(value, Undefined):
        str(value)
    raise TypeError(f"{kind_of(value)} is no text")


def kind_of(value: object) -> str:
    """What a template's author would call `value`; never its content."""
    names = {
        "str": "a string",
        "int": "a number",
        "float": "a number",
        "bool": "a boolean",
        "NoneType": "none",
    }
    names |= {
        "list": "a list",
        "tuple": "a list",
        "dict": "a mapping",
        "range": "a range",
        "Macro": "a macro",
    }
    names |= {
        "LoopContext": "the loop",
        "Namespace": "a namespace",
        "Method": "a method (call it with parentheses)",
    }
    return names.get(type(value).__name__, "a function")
