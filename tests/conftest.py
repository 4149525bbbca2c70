"""What every test has: skips by name and cleaning up, from the test kit."""

from __future__ import annotations

pytest_plugins = ("tests.kit.runner.plugin",)
