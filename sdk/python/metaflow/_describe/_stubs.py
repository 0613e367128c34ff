"""Stands in for third-party modules that are missing, so that a flow compiles where its libraries are not installed.

Only code of the user's own gets stubs, and only where it does not handle the missing module itself.
"""

from __future__ import annotations

import sys
import types

from .._state import Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

    from ._diagnostics import Diagnostics, Files

#: Brackets the name of a stub in texts that were made from it, so that they are noticed.
MARK, END_MARK = "\ue0f0stub:", "\ue0f1"


class StubBase:
    """What a class that derives from a stub derives from instead."""


class Stub:
    """A value of a missing module. It can be called, indexed, derived from and compared, and never has a value."""

    def __init__(self, name: str) -> None:
        self.__dict__["_mf_stub"] = name

    def __getattr__(self, name: str) -> Stub:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return Stub(f"{self._mf_stub}.{name}")

    def __setattr__(self, name: str, value: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and _reject is not None:
            if _reject(self._mf_stub, args[0]):
                return args[0]
        return Stub(f"{self._mf_stub}()")

    def __getitem__(self, key: Any) -> Stub:
        return Stub(f"{self._mf_stub}[{key!r}]")

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __enter__(self) -> Stub:
        return self

    def __exit__(self, *_: Any) -> None:
        return None

    def __bool__(self) -> bool:
        return True

    def __mro_entries__(self, _bases: Tuple[Any, ...]) -> Tuple[type, ...]:
        return (StubBase,)

    def __str__(self) -> str:
        return f"{MARK}{self._mf_stub}{END_MARK}"

    __repr__ = __str__

    def __format__(self, _spec: str) -> str:
        return str(self)

    def __lt__(self, _other: Any) -> bool:
        return False

    __le__ = __gt__ = __ge__ = __lt__


def _operator(name: str) -> Callable[..., Stub]:
    def apply(self: Stub, *_: Any) -> Stub:
        return Stub(f"{self._mf_stub}.{name}")

    return apply


for _name in "add sub mul matmul truediv floordiv mod pow and or xor lshift rshift".split():
    setattr(Stub, f"__{_name}__", _operator(_name))
    setattr(Stub, f"__r{_name}__", _operator(_name))
for _name in "neg pos invert abs".split():
    setattr(Stub, f"__{_name}__", _operator(_name))

#: Called with a stub's name and what it is used on as a decorator, maybe.
_reject: Optional[Callable[[str, Any], bool]] = None


class StubModule(types.ModuleType):
    """A missing module. Any name can be imported from it, and any module below it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: List[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__") and name != "__version__":
            raise AttributeError(name)
        return Stub(f"{self.__name__}.{name}")


def stub_name(value: Any) -> str:
    """Return the name of a stub; an empty text when the value is none."""
    if isinstance(value, Stub):
        return value._mf_stub
    if isinstance(value, StubModule):
        return value.__name__
    if isinstance(value, StubBase) or (isinstance(value, type) and issubclass(value, StubBase)):
        return getattr(value, "__name__", type(value).__name__)
    if isinstance(value, str) and MARK in value:
        return value.partition(MARK)[2].partition(END_MARK)[0]
    return ""


class Finder:
    """Finds missing modules: as the last of sys.meta_path it is asked for what nothing else has."""

    def __init__(self, files: Files, diagnostics: Diagnostics) -> None:
        self._files = files
        self._diagnostics = diagnostics
        self._stubbed: Dict[str, bool] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[ModuleSpec]:
        """Return a spec that makes a stub; None leaves the import to fail."""
        top = name.partition(".")[0]
        if top != name:
            if top not in self._stubbed:
                return None
        elif top not in self._stubbed and not self._wanted(top):
            return None
        from importlib.machinery import ModuleSpec

        return ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]

    def _wanted(self, top: str) -> bool:
        if top == "metaflow" or top.startswith("_") or top in getattr(sys, "stdlib_module_names", ()):
            return False
        frame = sys._getframe(1)
        while frame is not None and (
            frame.f_code.co_filename.startswith("<frozen") or frame.f_globals.get("__name__") in (__name__, "importlib")
        ):
            frame = frame.f_back  # type: ignore[assignment]
        if frame is None or not self._files.is_users(frame.f_code.co_filename):
            return False
        place = Place(frame.f_code.co_filename, frame.f_lineno)
        if self._handled(place):
            return False
        self._stubbed[top] = True
        self._diagnostics.add(
            "missing-module",
            self._files.span(place),
            f"the module {top!r} is not installed here; a stub stands in for it while compiling",
            severity="note",
        )
        return True

    def _handled(self, place: Place) -> bool:
        """Whether the import stands in a try that handles its failure."""
        import ast

        try:
            tree = ast.parse("\n".join(self._files.lines(place.file)))
        except SyntaxError:
            return False
        for node in ast.walk(tree):
            if isinstance(node, ast.Try) and node.body[0].lineno <= place.line <= (node.body[-1].end_lineno or 0):
                for handler in node.handlers:
                    names = {getattr(n, "id", "") for n in ast.walk(handler.type)} if handler.type else {"Exception"}
                    if names & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}:
                        return True
        return False

    def create_module(self, spec: ModuleSpec) -> StubModule:
        """Make the stub (part of the loader protocol)."""
        return StubModule(spec.name)

    def exec_module(self, module: Any) -> None:
        """Do nothing: a stub has no code (part of the loader protocol)."""

    def install(self, reject: Callable[[str, Any], bool]) -> None:
        """Begin to stub; `reject` is told what stubs are called on, and returns whether it is a step or flow."""
        global _reject
        _reject = reject
        sys.meta_path.append(self)  # type: ignore[arg-type]

    def remove(self) -> None:
        """Stop stubbing; the stubs made stay imported."""
        global _reject
        _reject = None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
