"""``unmask train`` and ``unmask evaluate``."""

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

if TYPE_CHECKING:
    from training.manifest import Item

EXIT_INPUT = 1
EXIT_SERVER = 3

_FOLDER = click.Path(file_okay=False, path_type=Path)
_DATA_HELP = "KIND:PATH, KIND one of faceforensics, celeb_df, dfdc, table, folders, manifest. May be given several times."


def _log(verbose: bool) -> None:
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


def _fail(command: str, error: Exception, code: int = EXIT_INPUT) -> None:
    click.echo(f"unmask {command}: {error}", err=True)
    sys.exit(code)


def _items(data: Sequence[str]) -> "list[Item]":
    from training.errors import ManifestError
    from training.manifest import check_leaks, read_manifest
    from training.readers import READERS

    readers = {**READERS, "manifest": read_manifest}
    items: list[Item] = []
    for entry in data:
        kind, _, path = entry.partition(":")
        if kind not in readers or not path:
            raise ManifestError(f"--data is {entry!r}; it must be KIND:PATH with KIND one of {', '.join(readers)}")
        items += readers[kind](Path(path))
    check_leaks(items)
    return items


@click.group()
def train() -> None:
    """Train a detector: collect faces, fit both stages, write weights."""


@train.command()
@click.option("--out", type=_FOLDER, required=True, help="Folder for the shards and manifest.jsonl.")
@click.option(
    "--photographs",
    nargs=2,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="ZIP NPZ",
    help="Portraits and their mesh points.",
)
@click.option("--data", multiple=True, metavar="KIND:PATH", help=_DATA_HELP)
@click.option("--root", type=_FOLDER, help="Folder that a table's paths are relative to [default: the table's own].")
@click.option("--frames", default=24, show_default=True, type=click.IntRange(min=1), help="Frames kept of each video.")
@click.option("-v", "--verbose", is_flag=True)
def collect(
    out: Path, photographs: tuple[Path, Path] | None, data: tuple[str, ...], root: Path | None, frames: int, verbose: bool
) -> None:
    """Find the faces once and keep them, with their surroundings, as shards."""
    _log(verbose)
    from dataclasses import replace

    from training import collect as collecting
    from training.errors import TrainingError
    from training.landmarks import default_mean_face
    from training.manifest import write_manifest
    from training.shards import write_shard

    if not photographs and not data:
        raise click.UsageError("nothing to collect: give --photographs, --data or both")
    try:
        items = _items(data)
        if root:
            items = [replace(item, path=str(root / Path(item.path).name)) for item in items]
        if photographs:
            found = collecting.photographs(*photographs)
            write_shard(out / "photographs.npz", found.records)
            click.echo(f"photographs: {len(found.records)} faces; left out: {dict(found.skipped) or 'none'}")
        if items:
            seen = collecting.videos([item for item in items if item.split != "unused"], default_mean_face(), frames=frames)
            write_shard(out / "videos.npz", seen.records)
            write_manifest(out / "manifest.jsonl", items)
            click.echo(f"videos: {len(seen.records)} faces of {len(items)} files; left out: {dict(seen.skipped) or 'none'}")
    except TrainingError as error:
        _fail("train collect", error)


@train.command()
@click.option(
    "--shards", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="Folder of `collect`."
)
@click.option("--run", "folder", type=_FOLDER, required=True, help="Folder of the run; a run that is there is resumed.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Weights to write [default: RUN/deepfake_detector.safetensors].",
)
@click.option("--phase", "phases", multiple=True, metavar="STEPS,WINDOW,PAIRS,WINDOWS", help="Phases of stage one, in order.")
@click.option(
    "--init", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Weights (.safetensors) to fine-tune from."
)
@click.option(
    "--hidden",
    "hidden_sizes",
    multiple=True,
    type=click.IntRange(min=8),
    default=(512,),
    show_default=True,
    help="LSTM sizes to try.",
)
@click.option("--learning-rate", default=1e-3, show_default=True, type=click.FloatRange(min=0, min_open=True))
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
    shards: Path, folder: Path, out: Path | None, phases: tuple[str, ...], init: Path | None, hidden_sizes: tuple[int, ...], learning_rate: float, seed: int,
    device: str, threads: int | None, workers: int, validate_every: int, patience: int, verbose: bool,
) -> None:  # fmt: skip
    """Fit the frame encoder, then the sequence head; calibrate; write weights and their facts."""
    _log(verbose)
    import torch

    from export.errors import ExportError
    from training import run
    from training.errors import TrainingError
    from training.fit_clips import ClipFitSettings
    from training.fit_frames import FrameFitSettings
    from training.plots import training_curves
    from training.shards import read_shards

    if device == "cuda" and not torch.cuda.is_available():
        raise click.UsageError("--device cuda: PyTorch finds no CUDA device here; use --device cpu")
    if threads:
        torch.set_num_threads(threads)
    settings = run.RunSettings(
        frames=FrameFitSettings(phases=_phases(phases), learning_rate=learning_rate, seed=seed),
        clips=ClipFitSettings(seed=seed),
        hidden_sizes=hidden_sizes,
    )
    try:
        records = read_shards(sorted(shards.glob("*.npz")))
        with _progress("stage one") as progress:
            model = run.fit_frames_stage(
                records, settings, folder, device=device, workers=workers, init=init,
                validate_every=validate_every, patience=patience, progress=progress,
            )  # fmt: skip
        training_curves(json.loads((folder / "frames_history.json").read_text()), folder / "curves.png")
        stage = run.fit_clips_stage(model, records, settings, folder, device=device)
        info = run.write_run_weights(
            out or folder / "deepfake_detector.safetensors", model, stage, settings,
            training_data=_described(records),
            caveat="Trained on fakes made of real faces; measure it on your own data before you rely on it.",
        )  # fmt: skip
    except (TrainingError, ExportError) as error:
        _fail("train fit", error)
        return
    click.echo(
        f"validation clip AUC {stage.val_auc:.4f}; temperature {info.temperature:.3f}, threshold {info.threshold}, "
        f"abstain {info.abstain_low} to {info.abstain_high}"
    )
    click.echo(str(out or folder / "deepfake_detector.safetensors"))


def _phases(given: Sequence[str]) -> Any:
    from training.batches import Phase

    default = ("1300,48,10,2", "400,112,12,1")
    phases = []
    for text in given or default:
        try:
            steps, window, pairs, windows = (int(part) for part in text.split(","))
        except ValueError:
            raise click.UsageError(
                f"--phase is {text!r}; it must be four whole numbers STEPS,WINDOW,PAIRS,WINDOWS such as {default[0]}"
            ) from None
        if min(steps, window, pairs, windows) < 1 or pairs * windows < 2 or window % 16:
            raise click.UsageError(f"--phase is {text!r}; numbers from 1, at least two pairs a batch, WINDOW a multiple of 16")
        phases.append(Phase(steps=steps, window_px=window, pairs=pairs, windows=windows))
    return tuple(phases)


def _described(records: Sequence[Any]) -> str:
    from collections import Counter

    count = Counter(record.dataset for record in records if record.split == "train")
    return "self-blended and swapped fakes made of " + ", ".join(
        f"{number} pictures of {name}" for name, number in sorted(count.items())
    )


class _progress:  # noqa: N801
    """A bar on stderr where that is a terminal."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Any:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._bar = Progress(console=Console(stderr=True))
            self._bar.start()
        return self._bar and self._step

    def _step(self, done: int, total: int, loss: float = float("nan")) -> None:
        text = self._name if loss != loss else f"{self._name}, loss {loss:.3f}"
        if self._task is None:
            self._task = self._bar.add_task(text, total=total)
        self._bar.update(self._task, completed=done, description=text)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


@click.group()
def evaluate() -> None:
    """Measure a detector: as it is served, and on fakes made of held-back faces."""


@evaluate.command()
@click.option("--data", multiple=True, required=True, metavar="KIND:PATH", help=_DATA_HELP)
@click.option("--root", type=_FOLDER, help="Folder that a table's paths are relative to [default: the table's own].")
@click.option("--split", default="test", show_default=True, type=click.Choice(["train", "val", "test", "all"]))
@click.option("--out", type=_FOLDER, required=True, help="Folder for evaluation.html and evaluation.json.")
@click.option(
    "--frames",
    multiple=True,
    type=click.IntRange(min=1),
    default=(32,),
    show_default=True,
    help="Several give the table of accuracy against frames.",
)
@click.option(
    "--variant",
    "variants",
    multiple=True,
    default=("original",),
    show_default=True,
    help="original, crf23, crf32, crf40, half, quarter.",
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
@click.option("--repository", type=_FOLDER, help="Model repository to serve [default: the checkout's].")
@click.option("-v", "--verbose", is_flag=True)
def files(
    data: tuple[str, ...], root: Path | None, split: str, out: Path, frames: tuple[int, ...], variants: tuple[str, ...], url: str | None,
    profiles: tuple[Literal["cpu", "gpu", "reference"], ...], repository: Path | None, verbose: bool,
) -> None:  # fmt: skip
    """Files through the served path: file, faces, Triton, verdict."""
    _log(verbose)
    from dataclasses import replace

    from client import ClientError, Detector
    from serving import EmbeddedTriton, ServingError, ServingSettings
    from training import served
    from training.errors import TrainingError

    try:
        items = [item for item in _items(data) if split in ("all", item.split)]
        if root:
            items = [replace(item, path=str(root / Path(item.path).name)) for item in items]
        outcomes = {}
        for profile in ("as served",) if url else profiles:
            with _progress(profile) as progress:
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
        page = served.write_report(out, outcomes)
    except TrainingError as error:
        _fail("evaluate files", error)
        return
    except (ClientError, ServingError) as error:
        _fail("evaluate files", error, EXIT_SERVER)
        return
    for name, outcome in outcomes.items():
        click.echo(f"{name}: {served.summary(outcome)}")
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
@click.option("--out", type=_FOLDER, required=True, help="Folder for evaluation.html and evaluation.json.")
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
    _log(verbose)
    from export.errors import ExportError
    from export.load import default_weights, load_detector
    from training.errors import TrainingError
    from training.examine import Examinee, examination
    from training.shards import read_shards

    try:
        chosen = weights or default_weights()
        if chosen is None:
            raise click.UsageError("there are no weights in weights/; name some with --weights")
        loaded = load_detector(chosen)
        records = [record for record in read_shards(sorted(shards.glob("*.npz"))) if record.split == split]
        page = examination(
            Examinee(loaded.encoder, loaded.head, loaded.info, device),
            records,
            out,
            pairs=pairs,
            lengths=lengths,
            classifier=classifier,
        )
    except (TrainingError, ExportError) as error:
        _fail("evaluate made", error)
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
@click.option("--out", type=_FOLDER, required=True, help="Folder for the clips and clips.csv.")
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    default=("self_blend", "swap"),
    show_default=True,
    type=click.Choice(["self_blend", "swap", "jitter", "flicker", "frozen"]),
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
    except TrainingError as error:
        _fail("evaluate make-clips", error)
        return
    click.echo(str(table))
