"""``unmask train``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from training.command_line import DATA_HELP, FOLDER, Progress, check_device, fail, log_to_stderr, read_items

DEFAULT_PHASES = ("500,112,16,1,1,0", "2500,112,16,1,1,0.6", "1000,112,16,1,0,1")
"""What two CPU cores manage in two to three hours."""


@click.group()
def train() -> None:
    """Train a detector: collect faces, fit both stages, write weights."""


@train.command()
@click.option("--out", type=FOLDER, required=True, help="Folder for the shards and manifest.jsonl.")
@click.option(
    "--photographs",
    nargs=2,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="ZIP NPZ",
    help="Portraits and their mesh points.",
)
@click.option("--data", multiple=True, metavar="KIND:PATH", help=DATA_HELP)
@click.option("--root", type=FOLDER, help="Folder that a table's paths are relative to [default: the table's own].")
@click.option("--frames", default=24, show_default=True, type=click.IntRange(min=1), help="Frames kept of each video.")
@click.option("-v", "--verbose", is_flag=True)
def collect(
    out: Path, photographs: tuple[Path, Path] | None, data: tuple[str, ...], root: Path | None, frames: int, verbose: bool
) -> None:
    """Find the faces once and keep them, with their surroundings, as shards."""
    log_to_stderr(verbose)
    from dataclasses import replace

    from training import collect as collecting
    from training.errors import TrainingError
    from training.landmarks import default_mean_face
    from training.manifest import write_manifest
    from training.shards import write_shard

    if not photographs and not data:
        raise click.UsageError("nothing to collect: give --photographs, --data or both")
    try:
        items = read_items(data, root)
        if photographs:
            found = collecting.photographs(*photographs)
            write_shard(out / "photographs.npz", found.records)
            click.echo(f"photographs: {len(found.records)} faces; left out: {dict(found.skipped) or 'none'}")
        if items:
            # A manifest's paths are taken from its own folder, and these were named from elsewhere.
            write_manifest(out / "manifest.jsonl", [replace(item, path=str(Path(item.path).absolute())) for item in items])
            seen = collecting.video_shards(items, default_mean_face(), out, frames=frames)
            click.echo(f"videos: {seen.faces} faces of {len(items)} files; left out: {dict(seen.skipped) or 'none'}")
    except TrainingError as error:
        fail("train collect", error)


@train.command()
@click.option(
    "--shards", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="Folder of `collect`."
)
@click.option("--run", "folder", type=FOLDER, required=True, help="Folder of the run; a run that is there is resumed.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Weights to write [default: RUN/deepfake_detector.safetensors].",
)
@click.option(
    "--phase",
    "phases",
    multiple=True,
    metavar="STEPS,WINDOW,PAIRS,WINDOWS,BLOCKS,DIFFICULTY",
    help="Phases of stage one, in order.",
)
@click.option(
    "--init",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Weights to start from: any file that `unmask export` reads, or the frames_best.pt of another run.",
)
@click.option(
    "--hidden",
    "hidden_sizes",
    multiple=True,
    type=click.IntRange(min=8),
    default=(128,),
    show_default=True,
    help="LSTM sizes to try.",
)
@click.option(
    "--clip-pairs",
    nargs=2,
    default=(240, 100),
    show_default=True,
    type=click.IntRange(min=5),
    help="Pairs of clips of stage two: train, val.",
)
@click.option("--learning-rate", default=1e-3, show_default=True, type=click.FloatRange(min=0, min_open=True))
@click.option(
    "--cool-down",
    default=0.3,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Share of the steps, at the end, over which the learning rate falls; may change when a run is resumed.",
)
@click.option(
    "--ema-decay",
    default=0.99,
    show_default=True,
    type=click.FloatRange(0, 1, max_open=True),
    help="Of the moving average of the weights; nearer to 1 for long runs.",
)
@click.option(
    "--quality-weight",
    default=0.1,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Share of the loss that keeps the scores of genuine pictures from following their size and compression.",
)
@click.option(
    "--order-weight",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Share of the loss that puts each fake above its own genuine picture.",
)
@click.option(
    "--rank-weight",
    default=0.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Share of the loss that puts each fake above every genuine picture of the batch; for runs past the beginning.",
)
@click.option(
    "--swap-share",
    default=0.3,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Share of the fakes that are swaps; the others are self-blended.",
)
@click.option(
    "--part-share",
    default=0.375,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Share of the self-blended in which only mouth, eyes or lower face are foreign.",
)
@click.option(
    "--severity",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="How strongly pictures are degraded in the end.",
)
@click.option(
    "--compile",
    "compiled",
    is_flag=True,
    help="Join the network's operations with torch.compile: faster where few blocks learn, after half a minute; needs a C++ compiler.",
)
@click.option(
    "--precision",
    default="bf16",
    show_default=True,
    type=click.Choice(["bf16", "fp16", "fp32"]),
    help="Of stage one's arithmetic; fp16 (scaled gradients) is for GPUs without bf16.",
)
@click.option("--seed", default=20261120, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads [default: PyTorch's].")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(min=0), help="Processes that make pairs.")
@click.option("--validate-every", default=250, show_default=True, type=click.IntRange(min=1), help="Steps.")
@click.option(
    "--patience",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Validations without a better AUC before stage one ends; 0: never.",
)
@click.option("-v", "--verbose", is_flag=True)
def fit(
    shards: Path, folder: Path, out: Path | None, phases: tuple[str, ...], init: Path | None, hidden_sizes: tuple[int, ...],
    clip_pairs: tuple[int, int], learning_rate: float, cool_down: float, ema_decay: float, quality_weight: float, order_weight: float,
    rank_weight: float,
    swap_share: float, part_share: float, severity: float, compiled: bool, precision: Any, seed: int,
    device: str, threads: int | None, workers: int, validate_every: int, patience: int, verbose: bool,
) -> None:  # fmt: skip
    """Fit the frame encoder, then the sequence head; calibrate; write weights and their facts."""
    log_to_stderr(verbose)
    import torch

    from export.errors import ExportError
    from training import run
    from training.errors import TrainingError
    from training.fit_clips import ClipFitSettings
    from training.fit_frames import FrameFitSettings
    from training.losses import LossWeights
    from training.plots import training_curves
    from training.shards import read_shards

    check_device(device)
    if threads:
        torch.set_num_threads(threads)
    settings = run.RunSettings(
        frames=FrameFitSettings(
            phases=_phases(phases),
            learning_rate=learning_rate,
            cool_down=cool_down,
            ema_decay=ema_decay,
            swap_share=swap_share,
            part_share=part_share,
            severity=severity,
            precision=precision,
            seed=seed,
            loss=LossWeights(quality=quality_weight, order=order_weight, rank=rank_weight),
        ),
        clips=ClipFitSettings(seed=seed),
        hidden_sizes=hidden_sizes,
        train_clip_pairs=clip_pairs[0],
        val_clip_pairs=clip_pairs[1],
    )
    try:
        records = read_shards(sorted(shards.glob("*.npz")))
        with Progress("stage one") as progress:
            model = run.fit_frames_stage(
                records, settings, folder, device=device, workers=workers, init=init,
                compiled=compiled, validate_every=validate_every, patience=patience, progress=progress,
            )  # fmt: skip
        training_curves(json.loads((folder / "frames_history.json").read_text()), folder / "curves.png")
        with Progress("stage two, clips") as progress:
            stage = run.fit_clips_stage(model, records, settings, folder, device=device, progress=progress)
        info = run.write_run_weights(
            out or folder / "deepfake_detector.safetensors", model, stage, settings,
            training_data=_described(records),
            caveat=run.caveat_of(stage),
        )  # fmt: skip
    except (TrainingError, ExportError, OSError) as error:
        fail("train fit", error)
        return
    click.echo(
        f"validation clip AUC {stage.val_auc:.4f}; temperature {info.temperature:.3f}, threshold {info.threshold}, "
        f"abstain {info.abstain_low} to {info.abstain_high}"
    )
    click.echo(str(out or folder / "deepfake_detector.safetensors"))


def _phases(given: Sequence[str]) -> Any:
    from training.batches import Phase

    phases = []
    for text in given or DEFAULT_PHASES:
        *counts, blocks, difficulty = text.split(",") if text.count(",") == 5 else [*text.split(","), "1"]
        try:
            steps, window, pairs, windows = (int(part) for part in counts)
            layers = tuple(int(part) for part in blocks.split("-"))
            end = float(difficulty)
        except ValueError:
            raise click.UsageError(
                f"--phase is {text!r}; it must be STEPS,WINDOW,PAIRS,WINDOWS,BLOCKS,DIFFICULTY such as {DEFAULT_PHASES[0]}"
            ) from None
        if min(steps, window, pairs, windows) < 1 or pairs * windows < 2 or window % 16 or not 0 <= end <= 1:
            raise click.UsageError(
                f"--phase is {text!r}; numbers from 1, at least two pairs a batch, WINDOW a multiple of 16, DIFFICULTY from 0 to 1"
            )
        layers = () if layers == (0,) else layers * 4 if len(layers) == 1 else layers
        if layers and (len(layers) != 4 or min(layers) < 1):
            raise click.UsageError(
                f"--phase is {text!r}; BLOCKS is 0 (all), a number from 1, or one for each of the four layers such as 1-2-2-1"
            )
        phases.append(Phase(steps=steps, window_px=window, pairs=pairs, windows=windows, blocks=layers, difficulty=end))
    return tuple(phases)


def _described(records: Sequence[Any]) -> str:
    from collections import Counter

    count = Counter(record.dataset for record in records if record.split == "train" and record.label == "real")
    return "self-blended and swapped fakes made of " + ", ".join(
        f"{number} pictures of {name}" for name, number in sorted(count.items())
    )
