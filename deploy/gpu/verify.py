"""The second half of verify.sh: asks a running Triton, compares with ONNX Runtime on the processor, measures, writes the report.

Any server will do that runs the repository it is given: with ``--profile cpu`` the same code checks the embedded one, which is how
it is tested where there is no GPU.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import tritonclient.grpc as triton

LENGTHS = (1, 16, 60, 100, 256)
PROBABILITY_LIMIT, LOGIT_LIMIT = 1e-2, 5e-2
"""Against fp32 on the processor; FP16 graphs and TF32 products differ by a few thousandths."""
RUNS = 20
OUTPUTS = ("CLIP_PROBABILITY", "FRAME_PROBABILITIES", "FRAME_LOGITS")


def latest(model: Path) -> Path:
    """The highest version folder."""
    return max((part for part in model.glob("[0-9]*") if part.name.isdecimal()), key=lambda part: int(part.name))


def engine_facts(engines: Path, fp32_bytes: int) -> dict[str, Any]:
    """Size of the built engines against the fp32 weights: an FP16 engine has about half of them."""
    files = sorted(engines.glob("**/*.engine"))
    largest = max((file.stat().st_size for file in files), default=0)
    return {
        "files": {file.name: file.stat().st_size for file in files},
        "timing_caches": [file.name for file in engines.glob("**/*.timing")],
        "share_of_fp32": round(largest / fp32_bytes, 3) if fp32_bytes else None,
        "fp16": 0.3 < largest / fp32_bytes < 0.75 if fp32_bytes else False,
    }


def main() -> int:
    """Entry point; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grpc", required=True)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--engines", type=Path, help="TensorRT engine cache; without it the precision is not proved")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--profile", default="gpu")
    parser.add_argument("--image", default="")
    parser.add_argument("--gpu", type=Path)
    parser.add_argument("--start-s", type=float, default=0.0)
    parser.add_argument("--detector", default="deepfake_detector")
    arguments = parser.parse_args()

    client = triton.InferenceServerClient(arguments.grpc)
    config = client.get_model_config(arguments.detector, as_json=True)["config"]
    steps = [step["model_name"] for step in config["ensemble_scheduling"]["step"]]
    live = {name: client.get_model_config(name, as_json=True)["config"] for name in steps}
    failures = [
        f"{name} runs the profile {found!r}, not {arguments.profile!r}"
        for name, model in live.items()
        if (found := model["parameters"]["profile"]["string_value"]) != arguments.profile
    ]
    size = int(config["input"][0]["dims"][1])
    folders = [latest(arguments.repository / name) for name in steps]
    first, second = (ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"]) for folder in folders)

    rows = []
    random = np.random.default_rng(20261120)
    for length in LENGTHS:
        frames = random.integers(0, 256, (length, size, size, 3), dtype=np.uint8)
        features = np.concatenate(
            [first.run(["FEATURES"], {"FRAMES": part})[0] for part in np.array_split(frames, -(-length // 16))]
        )
        expected = dict(zip(OUTPUTS, second.run(list(OUTPUTS), {"FEATURES": features}), strict=True))

        def ask(frames: Any = frames) -> Any:
            tensor = triton.InferInput("FRAMES", frames.shape, "UINT8")
            tensor.set_data_from_numpy(frames)
            return client.infer(arguments.detector, [tensor], client_timeout=600.0)

        answer = ask()
        differences = {name: float(np.abs(answer.as_numpy(name) - expected[name]).max()) for name in OUTPUTS}
        taken = []
        for _ in range(RUNS):
            started = time.perf_counter()
            ask()
            taken.append(time.perf_counter() - started)
        p50 = statistics.median(taken)
        rows.append(
            {
                "frames": length,
                "differences": differences,
                "p50_ms": round(p50 * 1e3, 2),
                "frames_per_s": round(length / p50, 1),
            }
        )
        limits = {"CLIP_PROBABILITY": PROBABILITY_LIMIT, "FRAME_PROBABILITIES": PROBABILITY_LIMIT, "FRAME_LOGITS": LOGIT_LIMIT}
        if arguments.profile == "cpu":
            limits["FRAME_LOGITS"] = 0.5  # INT8 on noise
        failures += [
            f"T={length}: {name} differs by {differences[name]:.2g}, limit {limit}"
            for name, limit in limits.items()
            if not differences[name] <= limit
        ]

    engines = None
    if arguments.engines is not None:
        engines = engine_facts(arguments.engines, (folders[0] / "model.onnx").stat().st_size)
        if not engines["files"]:
            failures.append(f"{arguments.engines} holds no TensorRT engine: the encoder ran in CUDA, or engines are not cached")
        elif not engines["fp16"]:
            failures.append(f"the engine has {engines['share_of_fp32']} of the fp32 weights' size; FP16 has about half")
        if engines["files"] and not engines["timing_caches"]:
            failures.append(f"{arguments.engines} holds no timing cache")
    report = {
        "gpu": arguments.gpu.read_text().strip() if arguments.gpu else None,
        "image": arguments.image,
        "detector": arguments.detector,
        "profile": arguments.profile,
        "backends": {name: model["backend"] for name, model in live.items()},
        "start_s": arguments.start_s,
        "engines": engines,
        "rows": rows,
        "failures": failures,
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    lines = [f"{'frames':>7}{'p50 ms':>10}{'frames/s':>10}{'|d| probability':>17}{'|d| logits':>12}"]
    lines += [
        f"{row['frames']:>7}{row['p50_ms']:>10}{row['frames_per_s']:>10}{row['differences']['CLIP_PROBABILITY']:>17.1e}"
        f"{row['differences']['FRAME_LOGITS']:>12.1e}"
        for row in rows
    ]
    sys.stdout.write("\n".join([*lines, *failures, f"report: {arguments.out / 'report.json'}"]) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
