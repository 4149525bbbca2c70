"""What an engine is told before it starts: a file that the reconciler writes after each accepted spec."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from schema.model import Engine, Worker


class ParametersError(RuntimeError):
    """The file is not there or does not say what it must."""


@dataclass(frozen=True, slots=True)
class Parameters:
    engine: Engine
    workers: tuple[Worker, ...]


def read(path: Path) -> Parameters:
    """Raises ParametersError with a sentence."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return Parameters(Engine(**value["engine"]), tuple(Worker(**each) for each in value["workers"]))
    except OSError as error:
        raise ParametersError(f"{path}: {error.strerror}; it is written by 'vio4wd watch' or 'vio4wd run'") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ParametersError(
            f"{path}: not the parameters of an engine ({error}); remove it and restart watch"
        ) from error
