"""The ``cpu`` profile under concurrent requests: merged batches are copies, and each answer must still be that of its own frames."""

import threading

import numpy as np
import tritonclient.grpc as triton_grpc

from serving import EmbeddedTriton
from tests.serving.test_ensemble import Result, infer, random_frames

LENGTHS = (5, 9, 14, 20, 27, 33)
ROUNDS = 12


def test_merged_requests_keep_their_scores(triton_cpu: EmbeddedTriton) -> None:
    with triton_grpc.InferenceServerClient(triton_cpu.grpc_url) as client:
        clips = [random_frames(length, seed) for seed, length in enumerate(LENGTHS)]
        alone = [infer(client, clip) for clip in clips]
        answers: list[list[Result]] = [[] for _ in clips]

        def ask(number: int) -> None:
            for _ in range(ROUNDS):
                answers[number].append(infer(client, clips[number]))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(clips))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number, expected in enumerate(alone):
        assert len(answers[number]) == ROUNDS, "every request is answered"
        for answer in answers[number]:
            # Micro-batches of other lengths round differently in bf16; frames of somebody else would be off by whole logits.
            np.testing.assert_allclose(answer["FRAME_LOGITS"], expected["FRAME_LOGITS"], atol=0.15)
