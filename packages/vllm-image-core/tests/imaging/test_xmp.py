"""XMP packets: the digital source type and our own parameters."""

import pytest
from vllm_image_core.imaging import xmp
from vllm_image_core.imaging.xmp import DigitalSource, Properties

TRAINED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@pytest.mark.parametrize(
    "properties",
    [
        Properties(source="trainedAlgorithmicMedia"),
        Properties(source="algorithmicMedia", json='{"prompt": "<fox> & \\"hare\\" ]]> 狐 🦊\\n"}'),
        Properties(json="{}"),
    ],
)
def test_what_is_written_is_read_back(properties: Properties) -> None:
    assert xmp.read(xmp.packet(properties)) == properties


def test_the_source_is_the_url_of_the_iptc_vocabulary() -> None:
    assert f">{TRAINED}</" in xmp.packet(Properties(source="trainedAlgorithmicMedia"))


def test_what_xml_cannot_hold_becomes_a_json_escape() -> None:
    packet = xmp.packet(Properties(json='{"prompt": "a\ufffeb\x01c"}'))
    assert xmp.read(packet).json == '{"prompt": "a\\ufffeb\\u0001c"}'


@pytest.mark.parametrize("source", ["algorithmicMedia", "trainedAlgorithmicMedia"])
def test_the_short_form_as_an_attribute_is_read(source: DigitalSource) -> None:
    text = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<r:Description r:about="" xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        f' e:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/{source}"/>'
        "</r:RDF></x:xmpmeta>"
    )
    assert xmp.read(text) == Properties(source=source)
    assert xmp.read(text.replace("http://cv.", "https://cv.")) == Properties(source=source)


@pytest.mark.parametrize("url", ["trainedAlgorithmicMedia", "http://x.example/trainedAlgorithmicMedia", ""])
def test_a_source_outside_the_vocabulary_is_none(url: str) -> None:
    packet = xmp.packet(Properties(source="trainedAlgorithmicMedia")).replace(TRAINED, url)
    assert xmp.read(packet) == Properties()


BOMB = (
    '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
)
FILE = '<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/passwd">]>'


@pytest.mark.parametrize("grammar", [BOMB, FILE, "<!DOCTYPE a>"])
def test_a_document_with_a_dtd_is_not_read(grammar: str) -> None:
    packet = xmp.packet(Properties(json="{}")).replace("<x:xmpmeta", f"{grammar}<x:xmpmeta")
    assert xmp.read(packet) == Properties()


@pytest.mark.parametrize(
    "text", ["", "no XML", "<a", "<a>" * 100_000, "&lt;", "\0", "\ud800", "x" * 2_000_000]
)
@pytest.mark.timeout(60)
def test_anything_but_a_packet_quickly_says_nothing(text: str) -> None:
    assert xmp.read(text) == Properties()


def test_padding_after_the_packet_does_no_harm() -> None:
    assert xmp.read(xmp.packet(Properties(json="{}")) + " \n" * 1000 + "\0") == Properties(json="{}")
