"""``unmask export``."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from common.places import default_repository
from export.errors import ExportError, LiveError

if TYPE_CHECKING:
    from export.build import Int8Source
    from export.explainer import WrittenExplainer
    from export.facts import Flags
    from export.load import Loaded
    from export.repository import Written

EXIT_INPUT = 1
EXIT_SERVER = 3


def _frames(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:  # noqa: ARG001
    if value is None:
        return None
    try:
        counts = tuple(sorted({int(item) for item in value.split(",") if item.strip()}))
    except ValueError:
        counts = ()
    if not counts or min(counts) < 1:
        raise click.BadParameter(f"{value!r} is no list of whole numbers above 0, such as 20,40,60")
    return counts


@click.command()
@click.argument("checkpoints", nargs=-1, metavar="[CHECKPOINT]...", type=click.Path(path_type=Path))
@click.option(
    "--repository", type=click.Path(path_type=Path, file_okay=False), default=default_repository,
    help="Model repository to write [default: the checkout's model_repository].",
)  # fmt: skip
@click.option("--url", help="A server that runs on the repository and is to change over: HOST:PORT, grpc://..., http://...")
@click.option("--name", help="Name of the detector [default: the file's]; a name that exists is replaced.")
@click.option("--classes", help="What the checkpoint's two outputs mean, in order: real,fake or fake,real.")
@click.option(
    "--semantics",
    type=click.Choice(["sequence", "reference_last_frame", "image"]),
    help="How the head is run [default: as the checkpoint's original is served].",
)
@click.option(
    "--image-size", "image_size_px", type=click.IntRange(32, 1024), help="Side of a crop in pixels [default: 112; image: 224]."
)
@click.option(
    "--crop-margin", type=click.FloatRange(1.0, 4.0), help="Side of the crop in face boxes [default: 1; ours: metadata]."
)
@click.option("--trained-frames", callback=_frames, help="Clip lengths it was trained for, such as 60 or 20,40,60.")
@click.option("--accuracy", type=click.FloatRange(0.0, 1.0), help="Share of clips classified correctly, from 0 to 1.")
@click.option("--data", help="Data set that it was trained and measured on.")
@click.option("--max-frames", type=click.IntRange(1, 4096), help="Longest clip of one request [default: 256].")
@click.option("--threshold", type=click.FloatRange(0.0, 1.0), help="Scores from it on are FAKE [default: 0.5].")
@click.option(
    "--calibrate-on",
    type=click.Path(exists=True, path_type=Path),
    help="Videos or photographs of faces that INT8 is calibrated on.",
)
@click.option("--save-calibration", type=click.Path(path_type=Path, dir_okay=False), help="Keep the measured INT8 ranges here.")
@click.option("--no-int8", is_flag=True, help="Leave INT8 out; the cpu profile then runs in bf16.")
@click.option(
    "--explainer/--no-explainer",
    default=None,
    help="Build what the heat maps are computed with, too [default: for the default detector alone].",
)
@click.option(
    "--report", "report_folder", is_flag=False, flag_value="out/parity", type=click.Path(path_type=Path, file_okay=False),
    help="Compare every precision in every engine; writes parity.json and parity.png into a folder [default: out/parity].",
)  # fmt: skip
@click.option("-v", "--verbose", is_flag=True, help="Say what is being done.")
def export(
    checkpoints: tuple[Path, ...],
    repository: Path,
    url: str | None,
    calibrate_on: Path | None,
    save_calibration: Path | None,
    no_int8: bool,
    explainer: bool | None,
    report_folder: Path | None,
    verbose: bool,
    **facts: Any,
) -> None:
    """Build the model repository from a checkpoint.

    Reads ResNeXt+LSTM state_dicts of the widely copied project (model_<accuracy>_acc_<frames>_frames_<dataset>_data.pt), image-only
    ResNeXt-50 with fc, and Unmask's own safetensors. Each file becomes a detector of its own; what is written was compared with
    PyTorch first. Without a CHECKPOINT the default detector is built.

    \b
    Exit codes: 0 done, 1 a checkpoint or the repository cannot be used, 2 usage, 3 the server at --url refused.
    """
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    for name in ("name", "save_calibration"):
        if (facts.get(name) or (name == "save_calibration" and save_calibration)) and len(checkpoints) > 1:
            raise click.UsageError(f"--{name.replace('_', '-')} belongs to one checkpoint, {len(checkpoints)} were given")
    if not checkpoints and (said := [_flag(name) for name, value in facts.items() if value is not None]):
        raise click.UsageError(
            f"{', '.join(said)}: for a CHECKPOINT, and none was given; the default detector brings its facts along"
        )
    if no_int8 and (calibrate_on or save_calibration):
        raise click.UsageError("--no-int8 contradicts --calibrate-on and --save-calibration")

    from export.build import Int8Source
    from export.facts import Flags

    facts["frames"] = facts.pop("trained_frames")
    source = Int8Source(wanted=not no_int8, clips=calibrate_on, save_to=save_calibration)
    try:
        loaded = _load(checkpoints, Flags(**facts))
        wanted = not checkpoints if explainer is None else explainer
        written = _write(loaded, repository, source, url, explainer=wanted)
        if report_folder is not None:
            from export.report import report

            failures = report(loaded, written, report_folder, media=calibrate_on)
            if failures:
                raise ExportError("outside the tolerances: " + "; ".join(failures))
    except LiveError as error:
        click.echo(f"unmask export: {error}", err=True)
        sys.exit(EXIT_SERVER)
    except ExportError as error:
        click.echo(f"unmask export: {error}", err=True)
        sys.exit(EXIT_INPUT)


def _flag(name: str) -> str:
    """The option behind a parameter of this command."""
    parameters = click.get_current_context().command.params
    return next(parameter.opts[0] for parameter in parameters if parameter.name == name)


def _load(checkpoints: Sequence[Path], flags: "Flags") -> "list[Loaded]":
    """All of them before the first is written: a bad file among good ones changes nothing."""
    from export.default_detector import default_detector
    from export.load import Loaded, load_detector

    if not checkpoints:
        encoder, head, info, path = default_detector()
        return [Loaded(encoder, head, info, "unmask", path or Path())]
    loaded = [load_detector(path, flags) for path in checkpoints]
    names = [detector.info.detector for detector in loaded]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ExportError(
            f"several checkpoints would become {', '.join(twice)}; rename the files, or export one by one with --name"
        )
    return loaded


def _write(
    loaded: "Sequence[Loaded]", repository: Path, source: "Int8Source", url: str | None, *, explainer: bool
) -> "list[Written]":
    import contextlib
    import dataclasses

    from export.explainer import drop_explainer, write_explainer
    from export.live import LiveServer
    from export.repository import write_detector

    with contextlib.ExitStack() as stack:
        live: LiveServer | None = stack.enter_context(LiveServer(url)) if url is not None else None
        written = []
        for detector in loaded:
            result = write_detector(
                detector.encoder, detector.head, detector.info, repository,
                int8=dataclasses.replace(source, checkpoint=detector.path if detector.path.is_file() else None), live=live,
            )  # fmt: skip
            click.echo(_line(result))
            written.append(result)
            if explainer:
                click.echo(
                    _explainer_line(write_explainer(detector.encoder, detector.head, detector.info, repository, live=live))
                )
            elif drop_explainer(detector.info.detector, repository, live=live):
                click.echo(f"{repository}: removed the explainer of {detector.info.detector}")
        return written


def _line(written: "Written") -> str:
    where = f"{written.repository}: {', '.join(written.models)}"
    if not written.comparisons:
        return f"{where}; there already, unchanged"
    worst = max(comparison.logits for comparison in written.comparisons)
    lengths = ", ".join(str(comparison.frames) for comparison in written.comparisons)
    int8 = "int8" if written.int8 else "no int8 (bf16 instead)"
    gone = f"; removed {', '.join(written.removed)}" if written.removed else ""
    return (
        f"{where}; version {written.version}, fp32, fp16, {int8}; logits within {worst:.1e} of PyTorch at T = {lengths}{gone}"
    )


def _explainer_line(written: "WrittenExplainer") -> str:
    if not written.differences:
        return f"{written.repository}: {written.name}; there already, unchanged"
    lengths = ", ".join(str(length) for length in written.differences)
    worst = max(written.differences.values())
    return f"{written.repository}: {written.name}; maps within {worst:.1e} of PyTorch, relatively, at T = {lengths}"
