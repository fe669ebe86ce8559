"""A few made people: one public-domain portrait, changed in shape and colour, so that no photograph need be committed."""

import cv2
import numpy as np
import pytest

from preprocess.faces import FaceFinder
from tests.clips import astronaut
from training.landmarks import default_mean_face, laid_over
from training.shards import Record

PEOPLE = 10


@pytest.fixture(scope="session")
def records() -> list[Record]:
    """Ten made people: six for training, two for validation, two for the examination."""
    made = []
    with FaceFinder(min_confidence=0.5, max_faces=2) as finder:
        for number in range(PEOPLE):
            rng = np.random.default_rng(number)
            picture = astronaut()[10:250, 105:345].astype(np.float32)
            matrix = np.array(
                [[rng.uniform(0.85, 1.1), 0.05 * rng.normal(), 8], [0.05 * rng.normal(), rng.uniform(0.85, 1.1), 8]]
            )
            picture = cv2.warpAffine(picture, matrix, (240, 240), borderMode=cv2.BORDER_REFLECT).astype(np.float32)
            picture = (picture * rng.uniform(0.8, 1.15, 3) + rng.normal(0, 2, picture.shape)).clip(0, 255)
            rgb = picture.astype(np.uint8)
            face = finder.find(rgb)[0]
            _, encoded = cv2.imencode(".png", rgb[..., ::-1])
            made.append(
                Record(
                    encoded=bytes(encoded),
                    box_px=(face.box.x0, face.box.y0, face.box.x1, face.box.y1),
                    points_px=laid_over(default_mean_face(), face.points),
                    identity=f"person-{number}",
                    source=f"person-{number}.png",
                    split="train" if number < 6 else "val" if number < 8 else "test",
                    label="real",
                    dataset="made",
                    native_face_px=face.box.side,
                )
            )
    return made
