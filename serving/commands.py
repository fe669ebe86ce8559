"""``unmask serve``."""

import logging
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from serving.errors import ServingError
from serving.launcher import EmbeddedTriton
from serving.settings import ServingSettings

if TYPE_CHECKING:
    from console.supervisor import Console

logger = logging.getLogger("unmask.serve")
EXIT_SERVER = 3


class _Stop(Exception):
    """A signal asked for the end."""


@click.command()
@click.option("--repository", "model_repository", type=click.Path(path_type=Path), help="Model repository to serve.")
@click.option(
    "--profile",
    type=click.Choice(["auto", "cpu", "gpu", "reference"]),
    help="Configuration of the models: cpu (OpenVINO), gpu (TensorRT/CUDA), reference (ONNX Runtime); auto takes the fastest.",
)
@click.option("--host", help="Address to listen on [default: 127.0.0.1]; there is no authentication on other addresses.")
@click.option("--grpc-port", type=click.IntRange(0, 65535), help="gRPC port [default: 8001]; 0 takes a free one.")
@click.option("--http-port", type=click.IntRange(0, 65535), help="HTTP port [default: 8000]; 0 takes a free one.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Prometheus port [default: 8002]; 0 takes a free one.")
@click.option("--micro-batch", "micro_batch_frames", type=click.IntRange(1, 256), help="Most frames computed at a time.")
@click.option("--streams", type=click.IntRange(0, 1024), help="Micro-batches side by side; 0: as the model says.")
@click.option("--threads", type=click.IntRange(0, 4096), help="Processor threads of the encoder; 0: all cores.")
@click.option("--explainer/--no-explainer", "explainer", default=None, help="Offer heat maps [default: where they were built].")
@click.option(
    "--drain-timeout", "drain_timeout_s", type=click.FloatRange(min=0), help="Seconds for requests in flight at a stop."
)
@click.option("--console/--no-console", "with_console", default=None, help="API and pages, too [default: where installed].")
@click.option("--console-host", help="Address of API and pages [default: 127.0.0.1]; on any other they ask for keys.")
@click.option(
    "--console-port", type=click.IntRange(0, 65535), help="Port of API and pages [default: 8080]; 0 takes a free one."
)
@click.option("-v", "--verbose", count=True, help="Triton's own log, up to -vvv.")
def serve(verbose: int, with_console: bool | None, console_host: str | None, console_port: int | None, **given: object) -> None:
    """Start Triton, the API and the console, and keep them running.

    Prints the addresses when every model is ready. Ctrl+C or SIGTERM drains: requests in flight are answered, new ones refused.
    In the environment, --host is UNMASK_SERVING_HOST, and so with the other options, but --repository is
    UNMASK_SERVING_MODEL_REPOSITORY, --micro-batch UNMASK_SERVING_MICRO_BATCH_FRAMES, --drain-timeout
    UNMASK_SERVING_DRAIN_TIMEOUT_S, and --console-host and --console-port are UNMASK_CONSOLE_HOST and UNMASK_CONSOLE_PORT.
    """
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # click hands over what was given; pydantic checks it.
    options = {name: value for name, value in given.items() if value is not None}
    if verbose:
        options["verbose"] = max(0, verbose - 1)
    settings = ServingSettings.model_validate(options)
    server = EmbeddedTriton(settings)
    console: Console | None = None

    def stop(number: int, _: FrameType | None) -> None:
        raise _Stop(signal.Signals(number).name)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        server.start()
        click.echo(
            f"ready: profile {server.profile}, gRPC {server.grpc_url}, HTTP {server.http_url}, metrics {server.metrics_url}"
        )
        if with_console is None:
            with_console = find_spec("fastapi") is not None and find_spec("sqlalchemy") is not None
            if not with_console:
                click.echo("without the console, which is not installed: `pip install 'unmask[console]'`", err=True)
        if with_console:
            from console.commands import start_beside

            console = start_beside(server.grpc_url, host=console_host, port=console_port, verbose=verbose > 0)
            click.echo(f"console: {console.url}")
        code = server.wait()
        click.echo(f"unmask serve: Triton ended by itself with code {code}", err=True)
        sys.exit(EXIT_SERVER)
    except _Stop as reason:
        click.echo(f"{reason}: draining", err=True)
    except ServingError as error:
        click.echo(f"unmask serve: {error}", err=True)
        sys.exit(EXIT_SERVER)
    finally:
        # A second Ctrl+C must not leave a server behind.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if console is not None:
            console.stop()
        server.stop()
