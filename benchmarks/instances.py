"""A model repository with another number of instances, to measure what a second one brings."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.engines.base import ENCODER, HEAD


@contextmanager
def with_instances(repository: Path, count: int | None) -> Iterator[Path]:
    """A folder for the block, with the repository's models, encoder and head in ``count`` instances each; graphs are linked, not copied.

    Without a count it is the repository itself.
    """
    if count is None:
        yield repository
        return
    with tempfile.TemporaryDirectory(prefix="unmask-bench-repository-") as name:
        folder = Path(name)
        for path in sorted(repository.resolve().iterdir()):
            if path.name in (ENCODER, HEAD):
                _vary(path, folder / path.name, count)
            else:
                (folder / path.name).symlink_to(path)
        yield folder


def _vary(model: Path, copy: Path, count: int) -> None:
    (copy / "configs").mkdir(parents=True)
    for path in model.iterdir():
        if path.name not in ("config.pbtxt", "configs"):
            (copy / path.name).symlink_to(path)
    for path in (model / "config.pbtxt", *(model / "configs").glob("*.pbtxt")):
        (copy / path.relative_to(model)).write_text(_text_with(path.read_text(), count))


def _text_with(text: str, count: int) -> str:
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    for group in config.instance_group:
        group.count = count
    return str(text_format.MessageToString(config))
