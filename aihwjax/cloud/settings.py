"""Which composer, and with which token: arguments, environment, configuration files."""

from __future__ import annotations

import configparser
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from aihwjax import arguments
from aihwjax.errors import ConfigError, CredentialsError

DEFAULT_URL = "http://127.0.0.1:8000/"
"""Address of a composer on this machine."""
LOCAL = Path("aihwkit.conf")
"""Configuration of the reference in the working folder."""
_SECTION = "cloud"
_VARIABLES = {
    "api_url": ("AIHWJAX_API_URL", "AIHW_API_URL"),
    "api_token": ("AIHWJAX_API_TOKEN", "AIHW_API_TOKEN"),
}


@arguments.answering
@dataclass(frozen=True)
class CloudSettings:
    """How to reach a composer."""

    url: str
    """Its address, with a slash at the end."""
    token: str = field(repr=False)
    """What the user signs in with; never shown."""


@arguments.answered
def resolve(api_url: str | None = None, api_token: str | None = None) -> CloudSettings:
    """Return address and token: of the arguments, else of the environment, else of the first file that has them.

    Args:
        api_url: Address of the composer; at last ``http://127.0.0.1:8000/``.
        api_token: Token of the user.

    Raises:
        CredentialsError: If there is no token, or it cannot be one; says where to put one.
        ConfigError: If the address is none, or a file is no configuration file.
    """
    url, token = _found("api_url", api_url), _found("api_token", api_token)
    if not token:
        # a working folder may be a stranger's: its address is for its own token only
        local = _read(LOCAL)
        token, url = local.get("api_token", "").strip(), url or local.get("api_url", "").strip()
    if not token:
        raise CredentialsError(
            "there is no API token: set the environment variable AIHWJAX_API_TOKEN, or write a file "
            "~/.config/aihwjax.conf with the lines '[cloud]' and 'api_token = ...'"
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise CredentialsError("the API token has characters that no token has: copy it again")
    return CloudSettings(_checked(url or DEFAULT_URL), token)


def files() -> list[Path]:
    """Return the user's configuration files, in the order in which they are looked at; :data:`LOCAL` comes last."""
    home = Path("~/.config").expanduser()
    xdg = Path(os.environ.get("XDG_CONFIG_HOME") or home)
    paths = [home / "aihwjax.conf", xdg / "aihwkit" / "aihwkit.conf", home / "aihwkit.conf"]
    return list(dict.fromkeys(paths))


def _found(name: str, argument: str | None) -> str | None:
    if argument is not None:
        return argument.strip()
    for variable in _VARIABLES[name]:
        if os.environ.get(variable, "").strip():
            return os.environ[variable].strip()
    for path in files():
        value = _read(path).get(name, "").strip()
        if value:
            return value
    return None


def _read(path: Path) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(f"cannot read the configuration {str(path)!r}: {reason}") from None
    except configparser.Error:  # its message has the line, which may be the token
        raise ConfigError(f"{str(path)!r} is no configuration file: give '[cloud]' and lines 'name = value'") from None
    return dict(parser[_SECTION]) if parser.has_section(_SECTION) else {}


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment or parts.username:
        raise ConfigError(f"api_url={url!r} is not allowed: give an address such as 'https://composer.example.org/'")
    return url.rstrip("/") + "/"
