"""A password that stands in a URL, without which git is given the URL: everybody may read the arguments of a process.

git asks a helper for it that is one line of shell, and that has it from its environment, which only root may read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

USER, PASSWORD = "VIO4WD_GIT_USER", "VIO4WD_GIT_PASSWORD"
HELPER = f'!f() {{ test "$1" = get || exit 0; printf "username=%s\\npassword=%s\\n" "${USER}" "${PASSWORD}"; }}; f'
_WITH_USER = re.compile(r"(?P<scheme>[a-z]+)://(?P<user>[^/]*)@(?P<host>[^/@]*)(?P<path>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Remote:
    """A repository as git is told of it."""

    url: str
    """That everybody may read."""
    settings: tuple[str, ...] = ()
    secrets: Mapping[str, str] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    """What must not be said, wherever git says it."""
    unfit: str = ""
    """Why it can't be used, if it can't."""

    def without_secrets(self, text: str) -> str:
        for secret in self.hidden:
            text = text.replace(secret, "***") if secret else text
        return text


def remote_of(url: str) -> Remote:
    """How git is to be told of this URL."""
    found = _WITH_USER.fullmatch(url)
    if found is None or found["scheme"] == "file":
        return Remote(url)
    user, _, password = found["user"].partition(":")
    if found["scheme"] not in ("http", "https"):
        bare = f"{found['scheme']}://{user}@{found['host']}{found['path']}"
        return Remote(bare, hidden=(password,))  # ssh takes none
    host = f"{found['scheme']}://{found['host']}"
    secrets = {USER: unquote(user), PASSWORD: unquote(password)}
    if any(not secret.isprintable() for secret in secrets.values()):  # the helper answers in lines
        unfit = "the name or password in the URL holds what can't be seen; write it without"
        return Remote(host + found["path"], unfit=unfit)
    # With a password nobody else is asked, nor told to keep it; with a name alone it may be for others to know.
    alone = (f"credential.{host}.helper=",) if password else ()
    hidden = tuple(dict.fromkeys((f"{found['user']}@", password, unquote(password), *_as_token(user, password))))
    named = {} if password else _configured(f"credential.{host}.username", secrets[USER])
    return Remote(
        f"{host}{found['path']}", (*alone, f"credential.{host}.helper={HELPER}"), {**secrets, **named}, hidden
    )


def _as_token(user: str, password: str) -> tuple[str, ...]:
    """A name without a password may be a secret itself."""
    return () if password or len(user) < 8 else (user,)


def _configured(key: str, value: str) -> dict[str, str]:
    """A setting of git that stands in the environment, not among the arguments."""
    there = os.environ.get("GIT_CONFIG_COUNT", "0")
    number = int(there) if there.isdecimal() else 0
    return {
        "GIT_CONFIG_COUNT": str(number + 1), f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value
    }  # fmt: skip
