from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.fakes.fake_engine import Served
from tests.kit.fakes.watch_harness import Steered, document


@pytest.fixture
def steered() -> Iterator[Steered]:
    with tempfile.TemporaryDirectory(prefix="v4-") as name:
        directory = Path(name)
        file = directory / "vio4wd.yaml"
        file.write_text(document(1))
        made = Steered(directory, file)
        with Served(made.engine, made.run_dir) as made.served:
            made.start()
            try:
                made.until_relays(1)
                yield made
            finally:
                made.stop()
