"""JSON objects of strangers, read field by field: each is what it must be, or one sentence says what is wrong.

Rule: pure. A `FieldError` names the field and what it must be, and quotes at most 40 characters of what came.

    fields = Fields.of(b'{"step": 1}', "the draft", 1000); fields.whole("step", 0, 9); fields.end()
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")
MISSING: Any = object()  # a field without a default must be there


class FieldError(ValueError):
    """What is wrong, as one sentence."""


class Fields:
    """An object's fields, taken one after another."""

    def __init__(self, raw: Any, what: str) -> None:
        self.left: dict[str, Any] = dict(raw) if isinstance(raw, dict) else bad(what, "an object")

    @classmethod
    def of(cls, body: bytes, what: str, most_bytes: int) -> Fields:
        """The object that a body holds as JSON."""
        if len(body) > most_bytes:
            raise FieldError(f"{what} is larger than {most_bytes:,} bytes")
        try:
            raw = json.loads(body.decode())
        except (ValueError, RecursionError):
            raise FieldError(f"{what} is not JSON in UTF-8") from None
        return cls(raw, what)

    def take(self, name: str, default: Any = MISSING) -> Any:
        """The value of a field."""
        value = self.left.pop(name, default)
        if value is MISSING:
            raise FieldError(f"{name} is missing")
        return value

    def text(self, name: str, longest: int, default: Any = MISSING) -> str:
        """A text."""
        return text_of(name, self.take(name, default), longest)

    def number(self, name: str, low: float, high: float, default: Any = MISSING) -> float:
        """A number."""
        return number_of(name, self.take(name, default), low, high)

    def whole(self, name: str, low: int, high: int, default: Any = MISSING) -> int:
        """A whole number."""
        return whole_of(name, self.take(name, default), low, high)

    def flag(self, name: str, default: Any = MISSING) -> bool:
        """True or false."""
        value = self.take(name, default)
        return value if isinstance(value, bool) else bad(name, "true or false")

    def each(self, name: str, most: int, read: Callable[[Any], T], default: Any = ()) -> tuple[T, ...]:
        """Every item of a list."""
        value = self.take(name, default)
        if not isinstance(value, (list, tuple)) or len(value) > most:
            bad(name, f"a list of at most {most} items")
        return tuple(read(item) for item in value)

    def end(self, whose: str) -> None:
        """Refuse what is left."""
        if self.left:
            raise FieldError(f"{shown(next(iter(self.left)))} is no field of {whose}")


def text_of(name: str, value: Any, longest: int) -> str:
    """A text that UTF-8 can hold."""
    if not isinstance(value, str) or len(value) > longest:
        bad(name, f"a text of at most {longest:,} characters")
    if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
        bad(name, "Unicode text without lone surrogates")
    return value


def number_of(name: str, value: Any, low: float, high: float) -> float:
    """A number within its bounds."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high
    return float(value) if good else bad(name, f"a number from {low:,} to {high:,}")


def whole_of(name: str, value: Any, low: int, high: int) -> int:
    """A whole number within its bounds."""
    good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    return int(value) if good else bad(name, f"a whole number from {low:,} to {high:,}")


def bad(name: str, wanted: str) -> NoReturn:
    """Say what a field must be."""
    raise FieldError(f"{name} must be {wanted}")


def shown(value: Any) -> str:
    """A stranger's value, short enough for a sentence."""
    text = ascii(value)
    return text if len(text) <= 40 else text[:37] + "..."


def listed(names: list[str]) -> str:
    """The first few of a stranger's names, short enough for a sentence."""
    few = (name if len(name) <= 100 else name[:97] + "..." for name in names[:3])
    return ", ".join(few) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
