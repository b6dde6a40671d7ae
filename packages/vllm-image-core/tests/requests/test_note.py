from vllm_image_core.requests.note import Note


def test_a_note_reads_as_its_message_and_names_its_parameter() -> None:
    note = Note(parameter="negative_prompt", message="negative_prompt was dropped.")
    assert f"{note}" == "negative_prompt was dropped."
    assert note.parameter == "negative_prompt"
