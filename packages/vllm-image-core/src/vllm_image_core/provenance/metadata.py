"""Metadata: which facts about its making a picture's file tells, and which it keeps to itself."""

from dataclasses import dataclass

from vllm_image_core.imaging.xmp import DigitalSource

__all__ = ["Metadata"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What is written into the files of pictures; nothing of it changes a pixel.

    Attributes:
        json: All parameters as JSON: in a PNG the text "vllm-image", in JPEG and WebP a property in XMP.
        parameters: The text that AUTOMATIC1111, Forge, SD.Next and Civitai read: in a PNG the text
            "parameters", in JPEG and WebP EXIF's UserComment.
        xmp: The IPTC digital source type, in an XMP packet.
        prompts: The prompt and the negative prompt, wherever parameters are told. Without them a picture
            can be made again only by who knows the prompt, and whatever the server itself wrote into the
            file beside the picture is removed, too.
        server: The address of the server that made it, in the JSON, without credentials. Leave it out of
            pictures that go to the public where the address says something of your network.
        source: The digital source type, for pictures that do not state their own. A server that draws by a
            procedure, such as the simulator, makes "algorithmicMedia".
    """

    json: bool = True
    parameters: bool = True
    xmp: bool = True
    prompts: bool = True
    server: bool = True
    source: DigitalSource = "trainedAlgorithmicMedia"
