"""``unmask console`` and ``unmask keys``."""

import logging
import signal
import sys
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from console.keys import KeyRing
    from console.settings import ConsoleSettings
    from console.supervisor import Console

EXIT_INPUT = 1
EXIT_USAGE = 2
EXIT_SERVER = 3


class _ServerFailed(click.ClickException):
    exit_code = EXIT_SERVER


def start_beside(triton_url: str, *, host: str | None, port: int | None, verbose: bool) -> "Console":
    """Starts API, pages and workers for a server that runs in this process; what `unmask serve` does.

    Raises:
        click.ClickException: They did not come up, or a setting is outside its range.
    """
    from console.supervisor import Console, ConsoleStartError

    given: dict[str, object] = {"triton_url": triton_url, "host": host, "port": port}
    try:
        return Console(_settings(given), log_level="INFO" if verbose else "WARNING").start()
    except ConsoleStartError as error:
        raise _ServerFailed(str(error)) from error


@click.command()
@click.option("--url", "triton_url", help="Triton: HOST:PORT, grpc://... or http://... [default: localhost:8001].")
@click.option("--host", help="Address to listen on [default: 127.0.0.1]; on any other, every request needs a key.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of API and pages [default: 8080]; 0 takes a free one.")
@click.option(
    "--workers", type=click.IntRange(0, 256), help="Worker processes [default: half the processors]; 0: they run elsewhere."
)
@click.option("-v", "--verbose", is_flag=True, help="Log to stderr.")
def console(verbose: bool, **given: object) -> None:
    """Serve the web API and the pages for a Triton that runs elsewhere.

    Every setting can also be given in the environment as UNMASK_CONSOLE_<NAME>.
    """
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    from console.supervisor import Console, ConsoleStartError

    running = Console(_settings(given), log_level="INFO" if verbose else "WARNING")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    try:
        with running:
            click.echo(f"console: {running.url}")
            stopped.wait()
            click.echo("stopping: analyses at hand are finished first", err=True)
    except ConsoleStartError as error:
        click.echo(f"unmask console: {error}", err=True)
        sys.exit(EXIT_SERVER)


@click.group()
def keys() -> None:
    """Make, list and revoke the API keys of the console."""


@keys.command()
@click.argument("name")
def add(name: str) -> None:
    """Make a key and print it; it is shown this once."""
    key = _key_ring().add(name)
    click.echo(key.text)
    click.echo(f"key {key.id} for {name!r}; it is not shown again. Revoke it with `unmask keys revoke {key.id}`", err=True)


@keys.command()
@click.argument("key_id")
def revoke(key_id: str) -> None:
    """End a key, by its id, at once; browsers that signed in with it are signed out."""
    from console.errors import NotFound

    # People have the whole key at hand as often as its id.
    key_id = key_id.split("_")[1] if key_id.startswith("unm_") and key_id.count("_") >= 2 else key_id
    try:
        _key_ring().revoke(key_id)
    except NotFound as error:
        click.echo(f"unmask keys: {error}", err=True)
        sys.exit(EXIT_INPUT)
    click.echo(f"revoked {key_id}", err=True)


@keys.command(name="list")
def list_keys() -> None:
    """List all keys: id, state, day it was made, name; never the secrets."""
    for row in _key_ring().all():
        day = datetime.fromtimestamp(row.created_at, UTC).date().isoformat()
        click.echo(f"{row.id}\t{'revoked' if row.revoked_at else 'live'}\t{day}\t{row.name}")


def _key_ring() -> "KeyRing":
    from console.database import Database
    from console.keys import KeyRing

    settings = _settings({})
    settings.make_dirs()
    database = Database(settings.database)
    database.create()
    return KeyRing(database, session_ttl_s=settings.session_ttl_s)


def _settings(given: dict[str, object]) -> "ConsoleSettings":
    from console.settings import ConsoleSettings

    return ConsoleSettings.model_validate({name: value for name, value in given.items() if value is not None})
