"""Mutators that change a flow before it runs."""

from __future__ import annotations

from .. import _state
from .._state import DefinitionError
from ..decorators import name_of
from .common import UserDecorator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .mutable_flow import MutableFlow


class FlowMutator(UserDecorator):
    """Derive from this class to change parameters, decorators and steps of a flow before it runs."""

    @staticmethod
    def _is_target(target: Any) -> bool:
        return isinstance(target, type) and "_mf_own_mutators" in target.__dict__

    def __call__(self, target: Any) -> Any:
        """Record this mutator on the flow class."""
        if not self._is_target(target):
            _state.report(
                DefinitionError(
                    "decorator-not-on-flow",
                    f"@{type(self).__name__} is on {name_of(target)}, which is not a flow",
                    "A flow mutator stands above the class that derives from FlowSpec",
                    self.place,
                    type(self).__name__,
                )
            )
            return target
        target._mf_own_mutators.append(self)
        return target

    def pre_mutate(self, mutable_flow: MutableFlow) -> None:
        """Change the flow as soon as configs are known."""

    def mutate(self, mutable_flow: MutableFlow) -> None:
        """Change the flow's steps once everything else has been applied, --with included."""

    def add_to_package(self) -> Any:
        """Name files that the code package has to hold."""
        return None
