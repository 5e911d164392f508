"""Options that belong together as one value: a command takes the value, and Typer sees its fields.

Typer reads the options of a command from its signature, so commands that share twenty options would have to
spell them twenty times each. Here they are the fields of a frozen dataclass, spelt once, and what they mean
together is a method of it. Must never know an option.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

Command = Callable[..., None]


def expand_groups(**values: Callable[..., Any]) -> Callable[[Command], Command]:
    """A decorator that puts the fields of each value in the place of the parameter with its name.

    values   parameter name to the dataclass whose fields become options: annotated for Typer, each with a default
    """

    def decorated(command: Command) -> Command:
        fields = {name: _parameters(value) for name, value in values.items()}
        shown: list[inspect.Parameter] = []
        for parameter in _parameters(command):
            shown += fields.get(parameter.name, [parameter])

        def unfolded(**given: Any) -> None:
            for name, value in values.items():
                given[name] = value(**{field.name: given.pop(field.name) for field in fields[name]})
            command(**given)

        unfolded.__name__, unfolded.__doc__ = command.__name__, command.__doc__
        unfolded.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
        unfolded.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
        return unfolded

    return decorated


def _parameters(of: Callable[..., Any]) -> list[inspect.Parameter]:
    """What a function or a dataclass takes, by name only, with annotations that are no strings any more."""
    named = inspect.signature(of, eval_str=True).parameters.values()
    return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in named]
