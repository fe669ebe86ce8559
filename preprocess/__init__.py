"""Video or image file -> clips of face crops."""

from preprocess.clip import Clip, Dropped, Extraction, SourceFacts

__all__ = ["Clip", "Dropped", "Extraction", "SourceFacts"]
