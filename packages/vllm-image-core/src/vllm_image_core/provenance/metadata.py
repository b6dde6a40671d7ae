"""Choose which facts about an image's making are written into its file."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vllm_image_core.imaging.xmp import DigitalSource

if TYPE_CHECKING:
    from vllm_image_core.requests.resolver import ResolvedRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Which metadata to write into image files; none of it changes a pixel.

    Attributes:
        json: All parameters as JSON: in a PNG the text "vllm-image", in JPEG and WebP a property in XMP.
        parameters: The text that AUTOMATIC1111, Forge, SD.Next and Civitai read: in a PNG the text
            "parameters", in JPEG and WebP EXIF's UserComment.
        xmp: The IPTC digital source type, in an XMP packet.
        prompts: The prompt and the negative prompt, wherever parameters are written. Without them, only
            somebody who knows the prompt can generate the image again, and all metadata that the server
            itself wrote into the file is removed, too.
        server: The address of the server that generated the image, in the JSON, without credentials; and the
            path of a LoRA on it. Omit them from images that you publish if they reveal something about your
            network. The name and the scale of a LoRA are always written.
        source: The digital source type, for images that do not state their own. Use "algorithmicMedia" for a
            server that draws by a procedure, such as the simulator.
    """

    json: bool = True
    parameters: bool = True
    xmp: bool = True
    prompts: bool = True
    server: bool = True
    source: DigitalSource = "trainedAlgorithmicMedia"

    @property
    def is_complete(self) -> bool:
        """Whether a file has all facts about its image."""
        return self.json and self.prompts and self.server

    def of(self, resolved: "ResolvedRequest") -> "Metadata":
        """What to write for a request; an edited image is a composite, as IPTC defines it."""
        if self.source != "trainedAlgorithmicMedia":
            return self
        return replace(self, source=resolved.digital_source)
