"""One picture out of an image file, upright, as RGB."""

import warnings
from typing import IO, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from preprocess.errors import TooManyPixelsError, UndecodableError
from preprocess.guarded_file import GuardedFile
from preprocess.media import Container
from preprocess.settings import PreprocessSettings

_TURNED_DEG = {3: 180, 4: 180, 5: 90, 6: 90, 7: 270, 8: 270}
"""EXIF orientation -> clockwise turn that makes it upright; 2, 4, 5 and 7 are mirrored as well."""


def read_image(
    stream: BinaryIO, container: Container, *, name: str, settings: PreprocessSettings
) -> tuple[NDArray[np.uint8], int]:
    """Decodes an image; of an animated one the first frame.

    Returns:
        (H, W, 3) uint8 RGB with EXIF orientation applied, and the clockwise turn in degrees that this took.

    Raises:
        TooManyPixelsError: By the header, before anything is decoded.
        FileChangedError, UndecodableError
    """
    from PIL import Image, ImageOps

    guarded = GuardedFile(stream, name)
    guarded.seek(0)
    try:
        with warnings.catch_warnings():
            # Pillow warns of much that it then reads well, and of sizes, for which there is a setting here.
            warnings.simplefilter("ignore")
            image = Image.open(cast(IO[bytes], guarded), formats=[container.demuxer])
            width, height = image.size
            if width * height > settings.max_frame_pixels:
                raise _too_large(name, f"{width}x{height} = {width * height}", settings)
            image.load()
            orientation = image.getexif().get(0x0112, 1)
            guarded.check()
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):
                # 16-bit grey: Pillow's own conversion cuts off at 255 instead of scaling.
                upright = Image.fromarray((np.asarray(upright, np.int64).clip(0, 65535) >> 8).astype(np.uint8))
            return np.ascontiguousarray(upright.convert("RGB")), _TURNED_DEG.get(orientation, 0)
    except Image.DecompressionBombError as error:
        raise _too_large(name, "far too many", settings) from error
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        ArithmeticError,
        IndexError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        # Pillow's plug-ins let any of these through on damaged input.
        raise UndecodableError(
            f"{name} cannot be read as {container.name}: {error}; it may be damaged: copy it again"
        ) from error


def _too_large(name: str, size: str, settings: PreprocessSettings) -> TooManyPixelsError:
    return TooManyPixelsError(
        f"{name} has {size} pixels, the limit is {settings.max_frame_pixels}; raise UNMASK_PREPROCESS_MAX_FRAME_PIXELS or "
        "scale it down"
    )
