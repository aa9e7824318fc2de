"""From Python paths to what stands there: functions that take the operation's parameters, payload schemas."""

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from marshmallow import Schema
from marshmallow.fields import Field

from headrace.contract.options import suggestion


class NotBound(Exception):
    """Why a Python path leads to nothing that can be called."""


def add_to_path(folder: Path) -> None:
    """Make the application's modules importable; they come before installed ones of the same name."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def find_object(path: str) -> Any:
    """What stands at a Python path such as `handlers.access.synchronize_user_access`.

    Raises NotBound with the reason.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name or not all(part.isidentifier() for part in path.split(".")):
        raise NotBound(f"{path!r} is no Python path of the form module.function.")
    module = _import_module(module_name)
    found = getattr(module, name, None)
    if found is None:
        public = [each for each in vars(module) if not each.startswith("_")]
        raise NotBound(f"{module_name} has no {name}.{suggestion(name, public)}")
    return found


def bind_function(path: str, first: str, parameters: Sequence[str]) -> Callable[..., Any]:
    """The function at `path`, which takes `first` (a position's name, or "" for none) and all `parameters`.

    Raises NotBound with the reason.
    """
    function = find_object(path)
    if not callable(function):
        raise NotBound(f"{path} is not a function.")
    try:
        inspect.signature(function).bind(*([None] if first else []), **dict.fromkeys(parameters))
    except TypeError as error:
        wanted = ", ".join(filter(None, (first, *parameters)))
        raise NotBound(f"{path} cannot be called as {path.rpartition('.')[2]}({wanted}): {error}.") from error
    found: Callable[..., Any] = function
    return found


def find_guard(path: str) -> Callable[[str | None], str | None]:
    """The function at `path`, which takes a token.

    Raises NotBound with the reason.
    """
    return bind_function(path, "token", ())


def find_schema(path: str) -> Schema | Field[Any]:
    """The marshmallow schema, of a class or an instance, or the instance of a field at `path`.

    Raises NotBound with the reason.
    """
    found = find_object(path)
    if isinstance(found, type) and issubclass(found, Schema):
        return found()
    if isinstance(found, (Schema, Field)):
        return found
    raise NotBound(f"{path} is neither a marshmallow schema nor an instance of a marshmallow field.")


def _import_module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise NotBound(f"There is no module {error.name}.") from error
        raise NotBound(f"{name} cannot be imported: {error}.") from error
    except Exception as error:
        # A boundary: importing runs the application's own code, which may raise anything.
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise NotBound(
            f"{name} cannot be imported: {type(error).__name__}: {error} ({last.filename}:{last.lineno})."
        ) from error
