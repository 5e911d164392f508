"""`login`: asks for an API key, has the server check it, and stores it where all commands find it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import AuthError, UsageError
from ..output.console import Reporter
from . import options as given
from .command_context import configuration

if TYPE_CHECKING:  # --help does without
    from ..protocol.constants import Credential
    from ..settings import Settings

EXAMPLES = """
cartesia-cli login
cartesia-cli login --with-key - < key.txt
cartesia-cli login --profile work --keyring
cartesia-cli logout
"""

CHECK_SECONDS = 15.0

MAX_KEY_BYTES = 1 << 14

NOTHING_STORED = "nothing was stored"


def _only_stdin(value: str | None) -> str | None:
    """Refuse a key on the command line, without quoting it."""
    if value not in (None, "-"):
        raise typer.BadParameter(
            "It takes only -, for stdin: other users of this machine can read command lines. If that was a key, "
            "revoke it."
        )
    return value


def login(
    context: typer.Context,
    reporter: Reporter,
    *,
    with_key: Annotated[
        str | None,
        typer.Option(metavar="-", callback=_only_stdin, help="Read the key from stdin instead of asking for it."),
    ] = None,
    keyring: Annotated[
        bool, typer.Option("--keyring", help="Store the key in the system's keyring; needs the extra keyring.")
    ] = False,
    no_check: Annotated[bool, typer.Option("--no-check", help="Store the key without asking the server.")] = False,
    base_url: given.BaseUrl = None,
) -> None:
    """Store an API key, after the server has accepted it.

    The key is asked for, or read from stdin, but never shown. It goes to a file that only you can read, or to the
    keyring; with --profile, it is used with that profile only. `cartesia-cli logout` removes it.
    """
    from ..credentials import check_form, key_source, store_key
    from ..protocol.constants import BASE_URL, Credential

    settings = configuration(context)
    address = base_url or BASE_URL
    if not no_check:
        _check_encryption(address, settings)
    secret = _read_stdin() if with_key else _ask()
    reporter.add_secret(secret)
    credential = check_form(Credential(secret, "stdin" if with_key else "your input"))
    if no_check:
        reporter.warn("the key was not checked")
    else:
        _check(address, credential, reporter)
    path = store_key(settings, secret, in_keyring=keyring)
    where = "the keyring" if keyring else f"{path}, which only you can read"
    owner = "" if settings.profile is None else f" of the profile {settings.profile}"
    reporter.info(f"the key{owner} is stored in {where}")
    used = key_source(settings)
    if used is not None and used.origin != str(path):
        reporter.warn(f"it is not used as long as there is {used.origin}, which takes precedence")


def _check_encryption(address: str, settings: Settings) -> None:
    """Raises UsageError for a server to which the key would go unencrypted, unless the configuration allows that."""
    from ..protocol.constants import check_encryption

    allowed = settings.general("insecure_http_key")
    try:
        check_encryption(address, allowed=allowed is not None and bool(allowed.value))
    except UsageError as error:
        error.hint = (
            "use https; --no-check stores a key unchecked; insecure_http_key = true in the configuration allows it"
        )
        raise


def _check(address: str, credential: Credential, reporter: Reporter) -> None:
    """Raises AuthError if the server refuses the key; another CliError if it can't be asked."""
    from urllib.parse import urlsplit

    from ..client.probe import check_key

    host = urlsplit(address).netloc
    error = check_key(address, credential, seconds=CHECK_SECONDS).error
    if error is None:
        reporter.info(f"{host} accepts the key")
        return
    if isinstance(error, AuthError):
        error.hint = f"{NOTHING_STORED}: copy the key again from play.cartesia.ai/keys"
    else:
        error.hint = f"{NOTHING_STORED}: {error.hint}; --no-check stores the key unchecked"
    raise error


def _ask() -> str:
    """The key that the user types. Raises UsageError without a terminal."""
    import getpass
    import warnings

    hint = "--with-key - reads the key from stdin"
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("the key can't be asked for without a terminal", hint=hint)
    with warnings.catch_warnings():
        warnings.simplefilter("error", getpass.GetPassWarning)  # it would show the key
        try:
            secret = getpass.getpass("API key from play.cartesia.ai/keys (not shown): ").strip()
        except (getpass.GetPassWarning, OSError) as error:
            raise UsageError("the terminal can't hide what is typed", hint=hint) from error
        except EOFError:
            secret = ""
    if not secret:
        raise AuthError("no key was entered", hint=f"{NOTHING_STORED}: keys are created at play.cartesia.ai/keys")
    return secret


def _read_stdin() -> str:
    """The key from stdin. Raises UsageError if stdin can't be read, AuthError if it is empty or too long for a key."""
    try:
        data = b"" if sys.stdin is None else sys.stdin.buffer.read(MAX_KEY_BYTES + 1)
    except OSError as error:
        reason = error.strerror or os.strerror(error.errno or 0)
        raise UsageError(f"stdin can't be read: {reason}", hint="cartesia-cli login --with-key - < key.txt") from error
    if len(data) > MAX_KEY_BYTES:
        raise AuthError(
            "stdin does not contain an API key: it is too long", hint=f"{NOTHING_STORED}: send the key alone"
        )
    secret = data.decode("utf-8-sig", "replace").strip()  # editors on Windows may put a mark first
    if not secret:
        raise AuthError("stdin is empty: no key", hint="cartesia-cli login --with-key - < key.txt")
    return secret
