"""Check image bytes without decoding a pixel, and move image files without replacing one."""

from vllm_omni_client._imaging.flat_colour import FlatColourDetector
from vllm_omni_client._imaging.held_files import FileHeld, is_held, retry_while_held
from vllm_omni_client._imaging.picture import InspectedImage, PictureFormat, size_of
from vllm_omni_client._imaging.png import SIGNATURE, DamagedPicture, PngWalk, png_header
from vllm_omni_client._imaging.rename import rename_if_free

__all__ = [
    "SIGNATURE",
    "DamagedPicture",
    "FileHeld",
    "FlatColourDetector",
    "InspectedImage",
    "PictureFormat",
    "PngWalk",
    "is_held",
    "png_header",
    "rename_if_free",
    "retry_while_held",
    "size_of",
]
