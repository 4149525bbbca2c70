"""What an engine is told before it starts: a file that the reconciler writes after each accepted spec."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from schema.model import Engine, Worker
from schema.system.files import read_text


class ParametersError(RuntimeError):
    """The file is not there or does not say what it must."""


@dataclass(frozen=True, slots=True)
class Parameters:
    engine: Engine
    workers: tuple[Worker, ...]
    hugepages: bool = False
    """Whether there will be some as soon as a host that has just started is as the spec wants it."""


def read_first(paths: Sequence[Path]) -> Parameters:
    """Of the first of these that is there and can be read. Raises ParametersError, of the last one."""
    for path in paths[:-1]:
        with contextlib.suppress(ParametersError):
            return read(path)
    return read(paths[-1])


def read(path: Path) -> Parameters:
    """Raises ParametersError with a sentence."""
    try:
        value = json.loads(read_text(path))
        engine, workers = Engine(**value["engine"]), tuple(Worker(**each) for each in value["workers"])
        _check_types("engine", engine, Engine())
        for each in workers:
            _check_types("worker", each, Worker(0))
        return Parameters(engine, workers, value.get("hugepages") is True)
    except OSError as error:
        raise ParametersError(f"{path}: {error.strerror}; it is written by 'vio4wd watch' or 'vio4wd run'") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ParametersError(
            f"{path}: not the parameters of an engine ({error}); vio4wd watch writes it anew"
        ) from error


def _check_types(what: str, given: Engine | Worker, example: Engine | Worker) -> None:
    """Raises TypeError for a value of another type than the example's: a dataclass takes anything."""
    for field in fields(example):
        value, wanted = getattr(given, field.name), type(getattr(example, field.name))
        if type(value) is not wanted:
            raise TypeError(f"{what} {field.name} is {value!r} and should be of type {wanted.__name__}")
