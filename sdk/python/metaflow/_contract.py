"""What the authoring half and the running half of the SDK expect of each other.

The authoring half (``FlowSpec``, parameters, decorators, ``metaflow._describe``) knows nothing of tasks, sockets or
artifacts. The running half (``metaflow._run``) puts an object that satisfies `TaskContext` into the ``_mf_task``
entry of a flow instance's ``__dict__``, and from then on the instance's authoring methods delegate to it.

How the running half executes a step::

    loaded = metaflow._describe.load(path, class_name, options)   # once, in the zygote; never raises for user mistakes
    if loaded.cls is None: ...                                    # see loaded.diagnostics
    flow = loaded.new_instance()                                  # never enters the command line
    loaded.cls._mf_bind_read_only(names)                          # parameters, configs and constants of the run
    flow.__dict__["_mf_task"] = context
    loaded.step_function(step)(flow)                              # or (flow, inputs) for a join

Artifacts written by the body are found afterwards in ``flow.__dict__``, less `INSTANCE_ATTRIBUTES`.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Protocol, Sequence, Tuple

#: Entries of a flow instance's ``__dict__`` that are not artifacts of the body.
INSTANCE_ATTRIBUTES = frozenset({"_mf_task", "name"})


class TaskContext(Protocol):
    """What a flow instance asks of the task it runs in."""

    def get_artifact(self, name: str) -> Any:
        """Return the value of an artifact of this task's inputs, parameters or constants.

        Called by ``FlowSpec.__getattr__`` for names that are neither in the instance's ``__dict__`` nor on the class;
        FlowSpec stores the result in ``__dict__``, so it is called once per name unless the attribute is deleted.
        Called, uncached, by the properties that ``_mf_bind_read_only`` makes: the context caches those itself.
        Raises AttributeError, with a message for the user, when there is no such artifact.
        """

    @property
    def input(self) -> Any:
        """The foreach item of this task, None outside a foreach."""

    @property
    def index(self) -> Optional[int]:
        """The innermost foreach index, None outside a foreach."""

    def foreach_stack(self) -> List[Tuple[int, int, Any]]:
        """(index, number of splits, item) for each enclosing foreach, outermost first."""

    def merge_artifacts(self, inputs: Any, exclude: Optional[Sequence[str]], include: Optional[Sequence[str]]) -> None:
        """Take over the artifacts of a join's inputs that are the same on all of them."""

    def next(
        self,
        targets: Tuple[Any, ...],
        *,
        foreach: Optional[Any],
        num_parallel: Optional[Any],
        condition: Optional[Any],
    ) -> None:
        """Record the transition. `targets` is what the body passed, unchecked: bound methods, or one dict."""


class LoadedFlow(Protocol):
    """What `metaflow._describe.load` returns (the class of the same name in ``metaflow._describe``).

    ``load(path, class_name=None, options=None)`` takes an absolute path, the name of a class or None, and a
    ``metaflow._describe.LoadOptions`` (with_specs, configs, config_values, config_data, stubs, evaluate; all
    optional).
    """

    #: The flow class; None when it could not be loaded.
    cls: Any
    #: The ``__main__`` module that the file was executed as; None when it could not be loaded.
    module: Any
    #: Diagnostics in the JSON form of Go's diag.Diagnostic.
    diagnostics: List[Dict[str, Any]]
    #: Parameters by variable name (Config excluded), in the order they are declared. See ``metaflow.parameters``:
    #: ``parameter.convert(text)`` turns a user's text into the value (raises MetaflowException naming the parameter),
    #: ``parameter.default_value(context)`` computes the default (``context`` is a ParameterContext).
    #: For an IncludeFile, (``isinstance(p, metaflow.includefile.IncludeFile)``) default_value is a path or None.
    parameters: Dict[str, Any]
    #: Config values by variable name, as plain data (dicts, not ConfigValue): what `_parameters` stores.
    configs: Dict[str, Any]
    #: Class constants by variable name.
    constants: Dict[str, Any]
    #: The exception that ended the loading, for callers that want more than the diagnostic; else None.
    error: Optional[BaseException]

    def description(self) -> Dict[str, Any]:
        """The ``flow`` object of the ``described`` answer, as JSON data; defined by compiler/python."""

    def new_instance(self) -> Any:
        """A new instance of the class, made without entering the command line."""

    def step_function(self, name: str) -> Callable[..., Any]:
        """The plain function of a step, user step decorators applied; call it with the instance (and inputs)."""
