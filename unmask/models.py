"""``unmask models``: which detectors a server or a repository has; and taking one out."""

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from client.model_info import ModelInfo

EXIT_INPUT = 1
EXIT_SERVER = 3


@click.command()
@click.option(
    "--url",
    envvar="UNMASK_URL",
    help="Server: HOST:PORT, grpc[s]://... or http[s]://...; without it the repository is read. [env: UNMASK_URL]",
)
@click.option(
    "--repository",
    type=click.Path(path_type=Path, file_okay=False),
    help="Model repository [default: the checkout's model_repository].",
)
@click.option(
    "--remove", metavar="NAME", help="Take a detector out; with --url also off the server, after its requests are answered."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("-v", "--verbose", is_flag=True, help="Log to stderr.")
def models(url: str | None, repository: Path | None, remove: str | None, as_json: bool, verbose: bool) -> None:
    """List the detectors of a server or of a model repository.

    Prints name, version, head, trained lengths, accuracy and data of each; from a server also profile and precision.

    \b
    Exit codes: 0 done, 1 the repository cannot be used, 2 usage, 3 the server failed or could not be reached.
    """
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    from client.errors import InvalidUrl, ServerError
    from export.errors import ExportError, LiveError

    try:
        if remove is not None:
            _remove(remove, repository, url)
        else:
            (_print_json if as_json else _print_table)(_rows(url, repository))
    except InvalidUrl as error:
        raise click.UsageError(str(error)) from error
    except (LiveError, ServerError) as error:
        click.echo(f"unmask models: {error}", err=True)
        sys.exit(EXIT_SERVER)
    except ExportError as error:
        click.echo(f"unmask models: {error}", err=True)
        sys.exit(EXIT_INPUT)


def _rows(url: str | None, repository: Path | None) -> list[dict[str, Any]]:
    if url is not None:
        from client import list_detectors

        return [
            {"version": model.version, "profile": model.profile, "precision": model.precision, **_facts(model.info)}
            for model in list_detectors(url)
        ]
    from common.places import default_repository
    from export.contents import detectors
    from export.errors import RepositoryError

    folder = repository or default_repository()
    if not folder.is_dir():
        raise RepositoryError(f"there is no model repository at {folder}; build one with `unmask export`")
    return [
        {"version": str(found.version) if found.version else "not built", "models": list(found.models), **_facts(found.info)}
        for found in detectors(folder)
    ]


def _facts(info: "ModelInfo") -> dict[str, Any]:
    return {
        "detector": info.detector,
        "semantics": info.semantics,
        "trained": info.trained,
        "training_frames": list(info.training_frames),
        "accuracy": info.accuracy,
        "accuracy_data": info.accuracy_data,
        "training_data": info.training_data,
        "image_size_px": info.image_size_px,
        "crop_margin": info.crop_margin,
        "max_frames": info.max_frames,
        "threshold": info.threshold,
        "weights_sha256": info.weights_sha256,
    }


def _print_json(rows: list[dict[str, Any]]) -> None:
    click.echo(json.dumps(rows, indent=2))


def _print_table(rows: list[dict[str, Any]]) -> None:
    """A table on a terminal, tab-separated lines in a pipe."""
    cells = [
        (
            row["detector"],
            row["version"],
            row["semantics"],
            ",".join(map(str, row["training_frames"])) or "any",
            "untrained" if not row["trained"] else "not stated" if row["accuracy"] is None else f"{row['accuracy']:.2%}",
            row["accuracy_data"] or row["training_data"],
            f"{row['profile']} {row['precision']}" if "profile" in row else ", ".join(row["models"]),
        )
        for row in rows
    ]
    if not sys.stdout.isatty():
        for line in cells:
            click.echo("\t".join(line))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    last = "profile" if rows and "profile" in rows[0] else "made of"
    for title in ("detector", "version", "head", "frames", "accuracy", "data", last):
        table.add_column(title, overflow="fold")
    for line in cells:
        table.add_row(*(cell.replace("[", "\\[") for cell in line))
    Console().print(table)


def _remove(name: str, repository: Path | None, url: str | None) -> None:
    import contextlib

    from common.places import default_repository
    from export.live import LiveServer
    from export.repository import remove_detector

    with contextlib.ExitStack() as stack:
        live = stack.enter_context(LiveServer(url)) if url is not None else None
        gone = remove_detector(name, repository or default_repository(), live=live)
    click.echo(f"removed {', '.join(gone)}")
