"""A Git repository to push to, and somebody who pushes: the real git."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

ALONE = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
"""So that this machine's own settings play no part."""


class Repository:
    """A bare repository at `url`, and a working copy of it."""

    def __init__(self, directory: Path) -> None:
        self.url = directory / "network.git"
        self.copy = directory / "copy"
        self.keys = directory / "keys"
        self._run(["git", "init", "--quiet", "--bare", "--initial-branch=main", self.url])
        self._run(["git", "clone", "--quiet", self.url, self.copy])
        for setting in ("user.name=Ann", "user.email=ann@example.com", "gpg.format=ssh", "init.defaultBranch=main"):
            self.git("config", *setting.split("="))
        self.git("checkout", "--quiet", "-B", "main")

    def git(self, *arguments: str | Path) -> str:
        """In the working copy; what it prints."""
        return self._run(["git", "-C", self.copy, *arguments])

    def _run(self, line: list[str | Path]) -> str:
        done = subprocess.run(line, env={**os.environ, **ALONE}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        return done.stdout.strip()

    def commit(self, files: Mapping[str, str], *options: str) -> str:
        """Writes these files and commits; the revision."""
        for name, text in files.items():
            path = self.copy / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "a change", *options)
        return self.git("rev-parse", "HEAD")

    def push(self, files: Mapping[str, str], *options: str) -> str:
        """Commits and pushes; the revision."""
        revision = self.commit(files, *options)
        self.git("push", "--quiet", "--force", "origin", "HEAD:main")
        return revision

    def key(self, name: str) -> Path:
        """A new SSH key, to sign with."""
        self.keys.mkdir(exist_ok=True)
        path = self.keys / name
        self._run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path])
        return path

    def sign_with(self, key: Path) -> None:
        """From now on commits made with `-S` are signed with it."""
        self.git("config", "user.signingkey", key)

    def hook(self, name: str, line: str) -> None:
        """A hook of the bare repository."""
        path = self.url / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)
