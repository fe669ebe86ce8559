"""More requests than the queue takes: the surplus is refused with the overload status, the rest is answered."""

import threading

import numpy as np
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from export.model_configs import QUEUE_REQUESTS
from serving import EmbeddedTriton


def test_the_surplus_is_refused_and_the_rest_is_answered(triton_cpu: EmbeddedTriton) -> None:
    frames = np.zeros((24, 112, 112, 3), np.uint8)
    request = triton_grpc.InferInput("FRAMES", frames.shape, "UINT8")
    request.set_data_from_numpy(frames)
    # What computes, what waits, and as many again.
    count = 2 * QUEUE_REQUESTS["cpu"] + 12
    outcomes: list[object] = []
    gate = threading.Barrier(count)

    with triton_grpc.InferenceServerClient(triton_cpu.grpc_url) as client:

        def ask() -> None:
            gate.wait()
            try:
                outcomes.append(client.infer("deepfake_detector", [request], client_timeout=120).as_numpy("CLIP_PROBABILITY"))
            except InferenceServerException as error:
                outcomes.append(error)

        threads = [threading.Thread(target=ask) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        refused = [outcome for outcome in outcomes if isinstance(outcome, InferenceServerException)]
        answered = [outcome for outcome in outcomes if isinstance(outcome, np.ndarray)]
        assert len(refused) + len(answered) == count
        assert refused
        assert {str(error.status()) for error in refused} == {"StatusCode.UNAVAILABLE"}
        assert all("queue size" in error.message() for error in refused)
        assert len(answered) >= QUEUE_REQUESTS["cpu"]
        assert all(np.allclose(answer, answered[0], atol=0.01) for answer in answered), "other batches, the same score"
        assert client.infer("deepfake_detector", [request], client_timeout=120).as_numpy("CLIP_PROBABILITY") is not None
