"""Specs with sources, and what a watch reports of these."""

from __future__ import annotations

from typing import Any

from schema.paths import sync_file
from tests.kit.fakes.watch_harness import WatchHarness
from tests.kit.system.git_repository import Repository

NEVER = 86400


def from_git(repository: Repository, interval_s: int = NEVER, more: str = "", **keys: object) -> str:
    named = "".join(f", {key}: {value}" for key, value in keys.items())
    url = f"{{git: {{url: {repository.url}, interval_s: {interval_s}{named}}}}}"
    return f"apiVersion: vio4wd/v1\nsources: [{url}]\n{more}"


def in_force(harness: WatchHarness) -> dict[str, Any]:
    found: dict[str, Any] = harness.report.get("in_force") or {}
    return found


def until_source(harness: WatchHarness, what: str, **facts: str) -> dict[str, Any]:
    """Until the first source has these facts; `problem` is a part of it."""

    def holds() -> bool:
        (found, *_) = in_force(harness).get("sources") or [{}]
        return all(value in found.get(name, "") for name, value in facts.items()) and bool(found)

    harness.until(what, holds)
    source: dict[str, Any] = in_force(harness)["sources"][0]
    return source


def sync(harness: WatchHarness) -> None:
    sync_file(harness.run_dir).touch()
