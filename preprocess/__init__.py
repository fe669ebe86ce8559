"""Video or image file -> clips of face crops.

    options = ExtractionOptions(image_size_px=info.image_size_px, crop_margin=info.crop_margin, frames=60)
    with Preprocessor() as preprocessor:
        extraction = preprocessor.extract("talk.mp4", options)

Errors are drawn in ``preprocess.errors``, limits are named in ``preprocess.settings``.
"""

from preprocess.assembly import REASONS
from preprocess.clip import Clip, Dropped, Extraction, SourceFacts
from preprocess.errors import PreprocessError
from preprocess.media import find_media
from preprocess.options import ExtractionOptions, Sampling, ShortClip
from preprocess.preprocessor import Preprocessor, extract
from preprocess.settings import PreprocessSettings

__all__ = [
    "REASONS",
    "Clip",
    "Dropped",
    "Extraction",
    "ExtractionOptions",
    "PreprocessError",
    "PreprocessSettings",
    "Preprocessor",
    "Sampling",
    "ShortClip",
    "SourceFacts",
    "extract",
    "find_media",
]
