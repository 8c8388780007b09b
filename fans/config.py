"""Frozen configurations in JSON."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Self, get_type_hints

_PLAIN: dict[Any, Any] = {int: int, float: (int, float), bool: bool, str: str, tuple[int, ...]: tuple}


@dataclass(frozen=True)
class Config:
    """Base of frozen configurations: JSON and back, unknown keys and wrong types rejected by name."""

    def to_json(self) -> str:
        """The configuration as JSON, one key a line."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote; keys left out have their defaults.

        Raises:
            ValueError: not a JSON object, unknown key, or a value of the wrong type.
        """
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"a configuration is a JSON object, got {text[:40]!r}")
        known = [field.name for field in fields(cls)]
        unknown = [key for key in values if key not in known]
        if unknown:
            raise ValueError(f"unknown {', '.join(map(repr, unknown))}: keys are {', '.join(known)}")
        lists = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return cls(**lists)

    def check_types(self) -> None:
        """Check the plain types of all fields, which JSON and typing errors may violate.

        Raises:
            ValueError: names the field, its value and its type.
        """
        for name, kind in get_type_hints(type(self)).items():
            value = getattr(self, name)
            plain = _PLAIN.get(kind, object)
            elements = value if isinstance(value, tuple) else ()
            if (
                not isinstance(value, plain)
                or (isinstance(value, bool) and kind is not bool)
                or any(type(element) is not int for element in elements)
            ):
                label = getattr(kind, "__name__", kind) if kind in (int, float, bool, str) else kind
                raise ValueError(f"{name}={value!r}: must be {label}")
