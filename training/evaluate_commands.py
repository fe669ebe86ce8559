"""``unmask evaluate``."""

from pathlib import Path
from typing import Any, Literal

import click

from training.command_line import DATA_HELP, EXIT_SERVER, FOLDER, Progress, check_device, fail, log_to_stderr, read_items


@click.group()
def evaluate() -> None:
    """Measure a detector: as it is served, and on fakes made of held-back faces."""


@evaluate.command()
@click.option("--data", multiple=True, required=True, metavar="KIND:PATH", help=DATA_HELP)
@click.option("--root", type=FOLDER, help="Folder that a table's paths are relative to [default: the table's own].")
@click.option("--split", default="test", show_default=True, type=click.Choice(["train", "val", "test", "all"]))
@click.option("--out", type=FOLDER, required=True, help="Folder for evaluation.html and evaluation.json.")
@click.option(
    "--frames",
    multiple=True,
    type=click.IntRange(min=1),
    default=(32,),
    show_default=True,
    help="Several give the table of accuracy against frames; all other figures are of the first.",
)
@click.option(
    "--variant",
    "variants",
    multiple=True,
    default=("original",),
    show_default=True,
    type=click.Choice(["original", "crf23", "crf32", "crf40", "half", "quarter"]),
    help="The files as they are, or encoded anew before; all figures but those by variant are of the first.",
)
@click.option("--url", envvar="UNMASK_URL", help="Server; without it one is started for each --profile. [env: UNMASK_URL]")
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    type=click.Choice(["cpu", "gpu", "reference"]),
    default=("reference",),
    show_default=True,
    help="Several are set side by side.",
)
@click.option("--repository", type=FOLDER, help="Model repository to serve [default: the checkout's].")
@click.option("-v", "--verbose", is_flag=True)
def files(
    data: tuple[str, ...], root: Path | None, split: str, out: Path, frames: tuple[int, ...], variants: tuple[str, ...], url: str | None,
    profiles: tuple[Literal["cpu", "gpu", "reference"], ...], repository: Path | None, verbose: bool,
) -> None:  # fmt: skip
    """Files through the served path: file, faces, Triton, verdict."""
    log_to_stderr(verbose)
    from client import ClientError, Detector
    from serving import EmbeddedTriton, ServingError, ServingSettings
    from training import served
    from training.errors import EvaluationError, TrainingError

    try:
        items = [item for item in read_items(data, root) if split in ("all", item.split)]
        outcomes = {}
        for profile in ("as served",) if url else profiles:
            with Progress(profile) as progress:
                if url:
                    outcomes[profile] = served.evaluate_served(
                        Detector(url), items, variants=variants, frames=frames, progress=progress
                    )
                else:
                    given = {"model_repository": repository} if repository else {}
                    settings = ServingSettings(profile=profile, grpc_port=0, http_port=0, metrics_port=0, **given)  # type: ignore[arg-type]
                    with EmbeddedTriton(settings) as server:
                        outcomes[profile] = served.evaluate_served(
                            Detector(server.grpc_url), items, variants=variants, frames=frames, progress=progress
                        )
        page = served.write_report(out, outcomes, split=split)
        for name, outcome in outcomes.items():
            click.echo(f"{name}: {served.summary(outcome)}")
        if not any(row.score is not None for outcome in outcomes.values() for row in outcome.rows):
            reasons = {reason for outcome in outcomes.values() for reason in outcome.not_evaluated()}
            raise EvaluationError(f"none of {len(items)} files was evaluated ({', '.join(sorted(reasons))}); see {page}")
    except (TrainingError, OSError) as error:
        fail("evaluate files", error)
        return
    except (ClientError, ServingError) as error:
        fail("evaluate files", error, EXIT_SERVER)
        return
    click.echo(str(page))


@evaluate.command()
@click.option(
    "--shards",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of `unmask train collect`.",
)
@click.option(
    "--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="[default: the checkout's weights/]."
)
@click.option(
    "--classifier",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="frames_best.pt of the run: compares the sequence head with the mean of frame scores.",
)
@click.option("--split", default="test", show_default=True, type=click.Choice(["train", "val", "test"]))
@click.option("--out", type=FOLDER, required=True, help="Folder for evaluation.html and evaluation.json.")
@click.option("--pairs", default=60, show_default=True, type=click.IntRange(min=4), help="Pairs of clips of each kind.")
@click.option(
    "--length",
    "lengths",
    multiple=True,
    type=click.IntRange(min=1),
    default=(10, 20, 40, 60, 80, 100),
    show_default=True,
    help="Rows of the table of accuracy against frames.",
)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("-v", "--verbose", is_flag=True)
def made(
    shards: Path,
    weights: Path | None,
    classifier: Path | None,
    split: str,
    out: Path,
    pairs: int,
    lengths: tuple[int, ...],
    device: str,
    verbose: bool,
) -> None:
    """Fakes made of held-back faces, by kind; quality; length. In PyTorch, without a server."""
    log_to_stderr(verbose)
    check_device(device)
    from export.errors import ExportError
    from export.load import default_weights, load_detector
    from training.errors import TrainingError
    from training.examine import Examinee, examination
    from training.frame_model import without_idle_blocks
    from training.shards import read_shards

    try:
        chosen = weights or default_weights()
        if chosen is None:
            raise click.UsageError("there are no weights in weights/; name some with --weights")
        loaded = load_detector(chosen)
        records = [record for record in read_shards(sorted(shards.glob("*.npz"))) if record.split == split]
        page = examination(
            Examinee(without_idle_blocks(loaded.encoder), loaded.head, loaded.info, device),
            records,
            out,
            pairs=pairs,
            lengths=lengths,
            classifier=classifier,
        )
    except (TrainingError, ExportError) as error:
        fail("evaluate made", error)
        return
    click.echo(str(page))


@evaluate.command("make-clips")
@click.option(
    "--shards",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="Folder of `unmask train collect`.",
)
@click.option("--split", default="test", show_default=True, type=click.Choice(["train", "val", "test"]))
@click.option("--out", type=FOLDER, required=True, help="Folder for the clips and clips.csv.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    default=("self_blend", "swap"),
    show_default=True,
    type=click.Choice(["self_blend", "part_blend", "swap", "jitter", "flicker", "frozen", "recoded"]),
)
@click.option("--pairs", default=40, show_default=True, type=click.IntRange(min=1), help="In all; kinds in turn.")
@click.option("--frames", default=32, show_default=True, type=click.IntRange(min=2))
@click.option(
    "--severity", default=0.3, show_default=True, type=click.FloatRange(0, 1), help="How strongly clips are degraded."
)
@click.option("--seed", default=99, show_default=True)
def make_clips(
    shards: Path, split: str, out: Path, kinds: tuple[Any, ...], pairs: int, frames: int, severity: float, seed: int
) -> None:
    """Write genuine clips and fakes made of them as video files, for `unmask evaluate files --data table:OUT/clips.csv`."""
    from training.clips import ClipMaker
    from training.errors import TrainingError
    from training.shards import read_shards
    from training.video_files import write_made_clips

    try:
        records = [record for record in read_shards(sorted(shards.glob("*.npz"))) if record.split == split]
        table = write_made_clips(ClipMaker(records), kinds, out, pairs=pairs, frames=frames, severity=severity, seed=seed)
    except (TrainingError, OSError) as error:
        fail("evaluate make-clips", error)
        return
    click.echo(str(table))
