"""Read and write XMP packets, which hold the IPTC digital source type and our own parameters.

Source: ISO 16684-1 (XMP) and the IPTC Photo Metadata Standard, "Digital Source Type".
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from html import escape
from typing import Final, Literal, get_args
from xml.parsers import expat

from vllm_image_core.text import one_line

DigitalSource = Literal[
    "trainedAlgorithmicMedia",
    "compositeWithTrainedAlgorithmicMedia",
    "algorithmicMedia",
]
"""How the pixels were created: by a trained model, by one and other sources together, or by a procedure.

Source: https://cv.iptc.org/newscodes/digitalsourcetype/, the values that apply to generated images.
"""


KEYWORD: Final = "XML:com.adobe.xmp"
"""The keyword of the PNG text that holds a packet."""

MAX_BYTES: Final = 1_048_576
"""A packet larger than 1 MiB is not read."""

_IPTC: Final = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_XMP: Final = "http://ns.adobe.com/xap/1.0/"
_EXIF: Final = "http://ns.adobe.com/exif/1.0/"
_DC: Final = "http://purl.org/dc/elements/1.1/"
_OURS: Final = "urn:vllm-image:ns:1.0/"
_RDF: Final = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_SOURCES: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_IN_LANGUAGES: Final = frozenset((f"{_EXIF} UserComment", f"{_DC} description"))
"""Properties that XMP stores once per language; the first one is read."""

_MAX_CREATOR: Final = 200
# XML 1.0, section 2.2: the characters that a document must not hold. In JSON, they occur only in strings.
_NO_XML: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Properties:
    """The properties of an XMP packet that are read and written here."""

    json: str | None = None
    source: DigitalSource | None = None
    creator: str | None = None
    """The program that made the image, on one line."""
    comment: str | None = None
    """EXIF's UserComment, where Draw Things writes its settings."""
    description: str | None = None
    """What the image shows, or the settings it was made with."""


def packet(properties: Properties) -> str:
    """Build a packet with these properties, of which at least one is set."""
    elements: list[str] = []
    if properties.source is not None:
        elements.append(
            f"<Iptc4xmpExt:DigitalSourceType>{_SOURCES}{properties.source}</Iptc4xmpExt:DigitalSourceType>"
        )
    if properties.creator is not None:
        elements.append(f"<xmp:CreatorTool>{_escape(properties.creator)}</xmp:CreatorTool>")
    if properties.json is not None:
        elements.append(f"<vllmimage:parameters>{_escape(properties.json)}</vllmimage:parameters>")
    inner = "".join(f"\n   {element}" for element in elements)
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        f' <rdf:RDF xmlns:rdf="{_RDF}">\n'
        f'  <rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{_IPTC}" xmlns:xmp="{_XMP}"'
        f' xmlns:vllmimage="{_OURS}">'
        f"{inner}\n"
        "  </rdf:Description>\n"
        " </rdf:RDF>\n"
        "</x:xmpmeta>\n"
        '<?xpacket end="w"?>'
    )


def read(text: str) -> Properties:
    """Read the properties of a packet; if it is damaged, read those before the damage.

    Documents that define entities are not read, and nothing outside the packet is ever fetched.
    """
    if not text or len(text) > MAX_BYTES:
        return Properties()
    reader = _Reader()
    with suppress(expat.ExpatError, _Refused):  # what was read before the damage counts
        reader.read(text)
    return Properties(
        json=reader.found.get(f"{_OURS} parameters"),
        source=_source(reader.found.get(f"{_IPTC} DigitalSourceType", "")),
        creator=one_line(reader.found.get(f"{_XMP} CreatorTool", ""), limit=_MAX_CREATOR) or None,
        comment=reader.found.get(f"{_EXIF} UserComment") or None,
        description=reader.found.get(f"{_DC} description") or None,
    )


class _Refused(Exception):
    """The document declares a document type of its own."""


@dataclass(slots=True)
class _Reader:
    """Collects the values of the properties, written as elements or, in short form, as attributes."""

    found: dict[str, str] = field(default_factory=dict[str, str])
    _open: str = ""
    _in_languages: str = ""
    _parts: list[str] = field(default_factory=list[str])

    def read(self, text: str) -> None:
        parser = expat.ParserCreate(encoding="utf-8", namespace_separator=" ")
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._parts.append
        parser.Parse(text.encode("utf-8", "replace"), True)  # noqa: FBT003 - the last part; positional-only

    def _doctype(self, *_: object) -> None:
        raise _Refused

    def _start(self, name: str, attributes: Mapping[str, str]) -> None:
        self._parts.clear()
        self._open = name
        if name in _IN_LANGUAGES:
            self._in_languages = name
        if name == f"{_RDF} Description":
            for attribute, value in attributes.items():
                self.found.setdefault(attribute, value)

    def _end(self, name: str) -> None:
        if name == f"{_RDF} li" and self._in_languages:
            self.found.setdefault(self._in_languages, "".join(self._parts).strip())
        elif name == self._in_languages:
            self._in_languages = ""
        if name == self._open and name.startswith((_OURS, _IPTC, _XMP, _EXIF, _DC)):
            self.found.setdefault(name, "".join(self._parts).strip())
        self._parts.clear()


def _escape(json: str) -> str:
    return escape(_NO_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", json), quote=False)


def _source(url: str) -> DigitalSource | None:
    """Return the source that a URL of IPTC's list stands for; some programs write https."""
    url = url.replace("https:", "http:", 1)
    return next((source for source in get_args(DigitalSource) if url == _SOURCES + source), None)
