#!/usr/bin/env bash
# Proves the gpu profile on a machine with an NVIDIA GPU and docker: starts NVIDIA's Triton on a built repository, lets it build its
# TensorRT engines, proves their precision, compares the outputs with ONNX Runtime on the processor, measures, and writes a report.
#
#   deploy/gpu/verify.sh [REPOSITORY] [OUT]        defaults: model_repository out/gpu
#
# Needs: docker with the NVIDIA container toolkit; .venv with the extra `serve` (make install); `unmask export` done.
# Ends with 0 when everything is within its limits, 1 when not, 2 when something that it needs is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
REPOSITORY=$(realpath -m "${1:-model_repository}")
OUT=$(realpath -m "${2:-out/gpu}")
PYTHON=${PYTHON:-.venv/bin/python}
IMAGE=${UNMASK_TRITON_IMAGE:-$(sed -n 's/^ *image: *\(nvcr.io\/nvidia\/tritonserver:.*\)$/\1/p' docker-compose.yml | head -1)}
CACHE=${UNMASK_ENGINE_CACHE:-$OUT/engines}
START_TIMEOUT_S=${START_TIMEOUT_S:-1800}
NAME=unmask-gpu-verify-$$

missing() { echo "verify.sh: $1" >&2; exit 2; }
command -v docker >/dev/null || missing "docker is not installed"
command -v curl >/dev/null || missing "curl is not installed"
command -v nvidia-smi >/dev/null || missing "nvidia-smi is not there: this machine has no NVIDIA driver"
[ -x "$PYTHON" ] || missing "$PYTHON is not there; make install, or set PYTHON"
[ -n "$IMAGE" ] || missing "no Triton image is named; set UNMASK_TRITON_IMAGE"
ls "$REPOSITORY"/*/[0-9]*/model.fp16.onnx >/dev/null 2>&1 || missing "$REPOSITORY has no FP16 graphs; run unmask export"

mkdir -p "$OUT" "$CACHE"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader | tee "$OUT/gpu.txt"
stop() { docker logs "$NAME" >"$OUT/triton.log" 2>&1 || true; docker rm -f "$NAME" >/dev/null 2>&1 || true; }
trap stop EXIT
# The engine cache keeps its path inside the container: it stands in configs/gpu.pbtxt.
docker run -d --name "$NAME" --gpus all --shm-size 1g --user "$(id -u):$(id -g)" \
  -p 127.0.0.1::8000 -p 127.0.0.1::8001 \
  -v "$REPOSITORY:/models:ro" -v "$CACHE:/var/cache/unmask/tensorrt" "$IMAGE" \
  tritonserver --model-repository=/models --model-config-name=gpu --model-control-mode=explicit '--load-model=*' \
  --disable-auto-complete-config >/dev/null
HTTP=$(docker port "$NAME" 8000/tcp | head -1)
GRPC=$(docker port "$NAME" 8001/tcp | head -1)
started=$(date +%s)
until curl --fail --silent "http://$HTTP/v2/health/ready" >/dev/null; do
  [ "$(docker inspect -f '{{.State.Running}}' "$NAME")" = true ] || { docker logs --tail 40 "$NAME" >&2; echo "verify.sh: Triton ended while starting" >&2; exit 1; }
  [ $(($(date +%s) - started)) -lt "$START_TIMEOUT_S" ] || { echo "verify.sh: not ready within $START_TIMEOUT_S s" >&2; exit 1; }
  sleep 2
done
echo "ready after $(($(date +%s) - started)) s"
# --log-verbose would slow the measurement; what was loaded is read back from the server itself.
"$PYTHON" deploy/gpu/verify.py --grpc "$GRPC" --repository "$REPOSITORY" --engines "$CACHE" --out "$OUT" \
  --image "$IMAGE" --gpu "$OUT/gpu.txt" --start-s $(($(date +%s) - started))
