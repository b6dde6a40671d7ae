"""Mark each image file in its XMP metadata as simulated: drawn by a procedure, not by a model.

The real server writes no such metadata. Programs that store images can recognise simulated ones by it.
Source: IPTC Photo Metadata Standard 2023.1, "Digital Source Type"; ISO 16684-1 (XMP).
"""

from typing import Final

TOOL: Final = "vllm-omni-simulator (simulated)"
KEYWORD: Final = "XML:com.adobe.xmp"
"""The keyword of the PNG text that holds an XMP packet."""

PACKET: Final = f"""\
<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
   <xmp:CreatorTool>{TOOL}</xmp:CreatorTool>
   <Iptc4xmpExt:DigitalSourceType>http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicMedia</Iptc4xmpExt:DigitalSourceType>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""
"""The XMP packet in every image file."""
