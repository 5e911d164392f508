"""Record, a base class for values that are only read, each by its name: parts of a request, or a row of a table.

The classes are defined at each start of the program: a named tuple takes four times as long, a dataclass more than ten
times as long.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self, dataclass_transform


@dataclass_transform(frozen_default=True)
class Record:
    """A subclass is used like a frozen dataclass: its annotated attributes are the fields, with or without defaults.
    mypy checks that calls give them, and that nothing changes them later. One that has subclasses passes its fields on.

    Not for what is hashed or unpacked. Nor for what is made for each word of a transcript: making a named tuple takes
    half as long.
    """

    _fields: ClassVar[Mapping[str, Any]] = {}
    _defaults: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own = vars(cls)
        cls._fields = {**cls._fields, **cls.__annotations__}
        cls._defaults = {**cls._defaults, **{name: own[name] for name in cls.__annotations__ if name in own}}

    def __init__(self, *values: Any, **named: Any) -> None:
        fields = self._fields
        self.__dict__ = {**self._defaults, **named}  # defaults, too: in the class alone, functions would be methods
        self.__dict__.update(zip(fields, values, strict=False))
        if len(values) > len(fields) or self.__dict__.keys() != fields.keys():
            raise TypeError(f"the fields of {type(self).__name__} are {', '.join(fields)}")

    def _replace(self, **changes: Any) -> Self:
        """A copy with other values of some fields, as of a named tuple."""
        return type(self)(**{**vars(self), **changes})

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __repr__(self) -> str:
        fields = (f"{name}={getattr(self, name)!r}" for name in self._fields)
        return f"{type(self).__name__}({', '.join(fields)})"
