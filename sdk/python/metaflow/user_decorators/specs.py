"""The text form of a decorator: ``name`` or ``name:attribute=value,attribute=value``, as in --with."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Tuple


def parse_spec(text: str) -> Tuple[str, Dict[str, Any]]:
    """Split the text form. Raises ValueError when an attribute has no value."""
    import re

    name, _, rest = text.partition(":")
    attributes: Dict[str, Any] = {}
    if rest:
        for part in re.split(r",(?=[\s\w]+=)", rest):
            key, equals, value = part.partition("=")
            if not equals or not key.strip():
                raise ValueError(f"{part!r} in {text!r} is not attribute=value")
            attributes[key.strip()] = parse_value(value)
    return name.strip(), attributes


def parse_value(text: str) -> Any:
    """Read a value: JSON where it is that, else a number, else the text itself."""
    import json

    text = text.strip()
    try:
        return json.loads(text.replace('\\"', '"'))
    except ValueError:
        pass
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
