"""Random number generators over a fork.

A step that runs in its own interpreter finds generators freshly seeded by the system, or in the state in which the
flow file left them if it seeds them when imported. Children of one zygote must find the same.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Generators:
    """Remembers whether the flow seeded `random` and `numpy.random` while it was loaded."""

    def __init__(self) -> None:
        self._state: Any = None
        self._seeded = False
        self._numpy_seeded = False

    def watch(self) -> None:
        """Begin to watch `random.seed`; to be called before the flow is loaded."""
        import random

        original = random.seed

        def seed(a: Any = None, version: int = 2) -> None:
            self._seeded = a is not None
            original(a, version)

        self._original = original
        random.seed = seed

    def loaded(self) -> None:
        """Note the generators' states; to be called when the flow is loaded."""
        import random

        random.seed = self._original
        if self._seeded:
            self._state = random.getstate()
        numpy_random = sys.modules.get("numpy.random")
        if numpy_random is not None:
            self._numpy_seeded = _numpy_is_seeded(numpy_random)

    def forked(self) -> None:
        """Set the generators of a child. (`random` reseeds itself after a fork.)"""
        if self._state is not None:
            sys.modules["random"].setstate(self._state)
        numpy_random = sys.modules.get("numpy.random")
        if numpy_random is not None and not self._numpy_seeded:
            numpy_random.seed()


def _numpy_is_seeded(numpy_random: Any) -> bool:
    """Whether `numpy.random.seed` was called: the global generator then has no seed sequence any more."""
    try:
        generator = numpy_random.mtrand._rand._bit_generator
        return getattr(generator, "seed_seq", getattr(generator, "_seed_seq", 0)) is None
    except AttributeError:
        return False
