"""``unmask export``."""

import logging
import sys
from pathlib import Path

import click

from export.errors import ExportError

EXIT_INPUT = 1


def default_repository() -> Path:
    """``model_repository/`` of the checkout that this package lies in."""
    return Path(__file__).resolve().parent.parent / "model_repository"


@click.command()
@click.option(
    "--repository", type=click.Path(path_type=Path, file_okay=False), default=default_repository,
    help="Model repository to write [default: the checkout's model_repository].",
)  # fmt: skip
@click.option("-v", "--verbose", is_flag=True, help="Say what is being done.")
def export(repository: Path, verbose: bool) -> None:
    """Build the model repository: ONNX graphs, checked against PyTorch, and Triton's configuration.

    Writes the seeded, untrained default detector; its verdicts are NOT_EVALUATED.
    """
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    from export.default_detector import untrained_detector
    from export.repository import write_detector

    encoder, head, info = untrained_detector()
    try:
        written = write_detector(encoder, head, info, repository)
    except ExportError as error:
        click.echo(f"unmask export: {error}", err=True)
        sys.exit(EXIT_INPUT)
    worst = max(comparison.logits for comparison in written.comparisons)
    lengths = ", ".join(str(comparison.frames) for comparison in written.comparisons)
    click.echo(f"{written.repository}: {', '.join(written.models)}; logits within {worst:.1e} of PyTorch at T = {lengths}")
