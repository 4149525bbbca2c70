"""Each test of isolated/, run in a process of its file's own: what that file gives the compiled code in place of DPDK's
functions would stay for every other test of this process."""

from __future__ import annotations

import pytest

from tests.kit.runner import own_process

FILES = sorted(own_process.ISOLATED.glob("[!_]*.py"))
CASES = [(file.name, name) for file in FILES for name in own_process.names(file.name)]


@pytest.mark.parametrize(("file", "name"), CASES)
def test_isolated(file: str, name: str) -> None:
    own_process.check(file, name)
