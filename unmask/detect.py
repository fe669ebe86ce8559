"""``unmask detect``: videos, images and folders in, verdicts out."""

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from client import TlsOptions

EXIT_INPUT = 1
EXIT_SERVER = 3

_PEM = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@click.option(
    "--url",
    envvar="UNMASK_URL",
    help="Server: HOST:PORT, grpc[s]://... or http[s]://...; without it one is started for this call. [env: UNMASK_URL]",
)
@click.option(
    "--detector", help="Ensemble to ask [default: with --frames the most accurate one for that length, else deepfake_detector]."
)
@click.option(
    "--frames",
    type=click.IntRange(min=1),
    help="Frames to sample from a video [default: what the model was trained for, or 32].",
)
@click.option(
    "--deadline", "deadline_s", type=click.FloatRange(min=0, min_open=True), help="Seconds per request [default: 60]."
)
@click.option(
    "--profile",
    type=click.Choice(["auto", "cpu", "gpu", "reference"]),
    help="Of the server that is started; not with --url [default: auto].",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of a table.")
@click.option(
    "--report",
    "report_paths",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a report here: a page for people (.html) or what --json prints (.json). May be given twice.",
)
@click.option("--tls-ca", type=_PEM, help="PEM file of the authorities to trust (grpcs, https).")
@click.option("--tls-cert", type=_PEM, help="PEM chain that this client shows; needs --tls-key.")
@click.option("--tls-key", type=_PEM, help="PEM key of --tls-cert.")
@click.option("--tls-name", help="Name to expect in the server's certificate where it is not the address's.")
@click.option("-v", "--verbose", is_flag=True, help="Log to stderr, the started server's words included.")
def detect(
    paths: tuple[Path, ...],
    url: str | None,
    detector: str | None,
    frames: int | None,
    deadline_s: float | None,
    profile: Literal["auto", "cpu", "gpu", "reference"] | None,
    as_json: bool,
    report_paths: tuple[Path, ...],
    tls_ca: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_name: str | None,
    verbose: bool,
) -> None:
    """Say of videos, images or folders whether the faces in them are fake.

    Results go to stdout: a table on a terminal, tab-separated lines (verdict, score, path, why) in a pipe, or --json.
    Everything else goes to stderr. One file's error does not stop the others.

    \b
    Exit codes: 0 each file has a verdict, 1 some file could not be evaluated because of an error, or a report not written,
                2 usage, 3 the server failed or could not be reached.
    """
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    if url is not None and profile:
        raise click.UsageError("--profile belongs to the server that is started without --url; a running one has its own")
    for path in report_paths:
        if path.suffix not in (".html", ".json"):
            raise click.UsageError(f"--report {path}: the name must end in .html or .json")
        if not path.absolute().parent.is_dir():
            raise click.UsageError(f"--report {path}: the folder {path.absolute().parent} does not exist; make it")

    # After the checks of usage: these bring gRPC and OpenCV.
    from client import ClientSettings
    from client.errors import InvalidRequest
    from client.report import Report, write_atomically
    from preprocess import PreprocessSettings
    from unmask import batch, detect_output

    # Wrong ones are refused here, not by the first file.
    ClientSettings()
    PreprocessSettings()
    report = Report() if any(path.suffix == ".html" for path in report_paths) else None
    try:
        server = batch.Server(
            url=url,
            profile=profile or "auto",
            detector=detector,
            deadline_s=deadline_s,
            tls=_tls(tls_ca, tls_cert, tls_key, tls_name),
        )
        outcome = batch.run(batch.expand(paths), server, frames=frames, report=report, progress=detect_output.with_progress)
    except InvalidRequest as error:
        raise click.UsageError(str(error)) from error
    (detect_output.print_json if as_json else detect_output.print_table)(outcome.results)
    unwritten = False
    for path in report_paths:
        try:
            if path.suffix == ".json":
                write_atomically(path, detect_output.to_json(outcome.results) + "\n")
            elif report is not None:
                report.write(path)
        except OSError as error:
            unwritten = True
            click.echo(f"unmask detect: the report {path} could not be written: {error.strerror or error}", err=True)
        else:
            click.echo(f"report: {path}", err=True)
    if outcome.server_failed:
        sys.exit(EXIT_SERVER)
    if unwritten or any(result.failure for result in outcome.results):
        sys.exit(EXIT_INPUT)


def _tls(ca: Path | None, certificate: Path | None, key: Path | None, name: str | None) -> "TlsOptions | None":
    if not any((ca, certificate, key, name)):
        return None
    from client import TlsOptions

    return TlsOptions(root_certificates=ca, client_certificate=certificate, client_key=key, server_name=name)
