"""IncludeFile: a parameter whose value is the content of a file that is stored with the run."""

from __future__ import annotations

from .parameters import Parameter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Union


class IncludedFile:
    """What an IncludeFile parameter is stored as: where its content is. The pickle is part of the artifact format."""

    def __init__(self, descriptor: Dict[str, Any]) -> None:
        self._descriptor = descriptor
        self._cached_size: Optional[int] = None

    @property
    def descriptor(self) -> Dict[str, Any]:
        """Type, url, is_text, encoding, sub-type and size of the stored content."""
        return self._descriptor

    @property
    def size(self) -> Optional[int]:
        """Size of the content in bytes, where the descriptor says so."""
        return self._descriptor.get("size", self._cached_size)


class IncludeFile(Parameter):
    """A file stored with the run: ``movies = IncludeFile("movies", default="a.csv")``; ``self.movies`` is its text.

    With ``is_text=False`` it is its bytes. `parser`, a function or its dotted name, turns the content into the value.
    """

    def __init__(
        self,
        name: str,
        required: Optional[bool] = None,
        is_text: Optional[bool] = None,
        encoding: Optional[str] = None,
        help: Optional[str] = None,  # noqa: A002 (Metaflow's name)
        parser: Optional[Union[str, Callable[[str], Any]]] = None,
        **kwargs: Any,
    ) -> None:
        kwargs.pop("type", None)
        super().__init__(name, required=required, help=help, **kwargs)
        self.is_text = is_text
        self.encoding = encoding
        self.parser = parser

    @property
    def kind(self) -> str:
        """Always "file"."""
        return "file"

    def _given(self) -> Dict[str, Any]:
        given = super()._given()
        del given["type"]
        for name in ("is_text", "encoding"):
            given[name] = getattr(self, name) if getattr(self, name) is not None else self.rest.get(name)
        return given

    def parse(self, content: Any) -> Any:
        """Apply the parser, if there is one, to the content of the file."""
        if self.parser is None:
            return content
        from .user_configs.config_parameters import find_parser

        return find_parser(self.parser)(content)
