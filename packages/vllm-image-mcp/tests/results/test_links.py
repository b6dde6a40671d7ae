from pathlib import Path

from vllm_image_mcp.results.links import picture_link, picture_uri

FOLDER = Path("/pictures")


def test_the_address_of_an_image_is_its_file_name() -> None:
    assert picture_uri(FOLDER / "img_1_a.png", folder=FOLDER) == "image://img_1_a.png"


def test_special_characters_in_an_address_are_percent_encoded() -> None:
    assert picture_uri(FOLDER / "red fox #1 ä%2F.png", folder=FOLDER) == (
        "image://red%20fox%20%231%20%C3%A4%252F.png"
    )


def test_an_image_outside_the_folder_has_the_address_of_its_file() -> None:
    path = Path("/spill/fox 1.png").absolute()
    assert picture_uri(path, folder=FOLDER) == path.as_uri()


def test_a_link_has_the_name_the_kind_and_the_path() -> None:
    link = picture_link(FOLDER / "fox.jpg", uri="image://fox.jpg", description="64x64, seed 7")
    assert (link.uri, link.name, link.mime_type) == ("image://fox.jpg", "fox.jpg", "image/jpeg")
    assert link.description == f"64x64, seed 7; {FOLDER / 'fox.jpg'}"
