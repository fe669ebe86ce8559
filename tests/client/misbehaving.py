"""A model repository of detectors that keep the contract's names and break its promises, for a real Triton to serve.

Their answers come off a real wire; what is wrong with them is what a broken export or a stranger's model would do.
"""

from pathlib import Path

from client.model_info import ModelInfo

INFO = ModelInfo(
    detector="sane",
    semantics="image",
    trained=True,
    training_data="made",
    accuracy=None,
    accuracy_data="",
    training_frames=(),
    image_size_px=8,
    crop_margin=1.3,
    class_order=("real", "fake"),
    max_frames=4,
    temperature=1.0,
    threshold=0.5,
    abstain_low=0.4,
    abstain_high=0.6,
    weights_sha256="0" * 64,
    caveat="",
)

_MODEL = """
import time
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        count = len(pb_utils.get_input_tensor_by_name(request, "FRAMES").as_numpy())
        clip = np.full(1, 0.25, np.float32)
        frames = np.full(count, 0.25, np.float32)
        logits = np.zeros((count, 2), np.float32)
        {behaviour}
        outputs = {{"CLIP_PROBABILITY": clip, "FRAME_PROBABILITIES": frames, "FRAME_LOGITS": logits}}
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, value) for name, value in outputs.items()])
"""

BEHAVIOURS = {
    "sane": "",
    "nan_clip": "clip[0] = np.nan",
    "nan_frame": "frames[-1] = np.nan",
    "infinite_logit": "logits[0, 1] = np.inf",
    "above_one": "clip[0] = 1.5",
    "one_frame_short": "frames = frames[:-1]",
    "slow": "time.sleep(3)",
    "failing": "raise RuntimeError('this model always fails')",
}


def write_model(
    repository: Path, name: str, behaviour: str, *, version: int = 1, parameters: dict[str, str] | None = None
) -> None:
    """Adds a model, or a version of one, that the Python backend runs."""
    folder = repository / name / str(version)
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(_MODEL.format(behaviour=behaviour or "pass"), "utf-8")
    (repository / name / "config.pbtxt").write_text(_config(name, parameters), "utf-8")


def write_repository(repository: Path) -> Path:
    """All of ``BEHAVIOURS``, and three whose metadata cannot be used."""
    for name, behaviour in BEHAVIOURS.items():
        write_model(repository, name, behaviour)
    write_model(repository, "nan_threshold", "", parameters={**INFO.to_parameters(), "threshold": "nan"})
    write_model(repository, "no_metadata", "", parameters={})
    write_model(repository, "crossed_band", "", parameters={**INFO.to_parameters(), "abstain_low": "0.9"})
    return repository


def _config(name: str, parameters: dict[str, str] | None) -> str:
    if parameters is None:
        parameters = {**INFO.to_parameters(), "detector": name, "precision": "fp32"}
    lines = [
        f'name: "{name}"',
        'backend: "python"',
        "max_batch_size: 0",
        'input [{ name: "FRAMES" data_type: TYPE_UINT8 dims: [-1, 8, 8, 3] }]',
        "output [",
        '  { name: "CLIP_PROBABILITY" data_type: TYPE_FP32 dims: [1] },',
        '  { name: "FRAME_PROBABILITIES" data_type: TYPE_FP32 dims: [-1] },',
        '  { name: "FRAME_LOGITS" data_type: TYPE_FP32 dims: [-1, 2] }',
        "]",
        "instance_group [{ kind: KIND_CPU count: 1 }]",
    ]
    for key, value in {**parameters, "profile": "reference"}.items():
        lines.append(f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}')
    return "\n".join(lines) + "\n"
