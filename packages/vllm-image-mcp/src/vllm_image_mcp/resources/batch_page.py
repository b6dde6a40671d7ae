"""Build the resource `batch://`: a batch's counts, and each image with the parameters to repeat it."""

from collections.abc import Mapping
from pathlib import Path

from vllm_image_core.batches.summary import FoundBatch, ItemReport
from vllm_image_core.storage.record import Record
from vllm_image_core.storage.subfolders import name_in
from vllm_image_core.text import one_line, path_text

from vllm_image_mcp.error_messages import with_program_names
from vllm_image_mcp.resources import stored_images
from vllm_image_mcp.results.links import picture_uri
from vllm_image_mcp.results.parameters_used import parameters_of_record


def batch_page(found: FoundBatch, *, folder: Path) -> Mapping[str, object]:
    """A batch as a JSON object. It reads the metadata of image files, so call it in a thread."""
    paths = [item.path for item in found.items if item.path and item.path.is_relative_to(folder)]
    names = [name_in(folder, path) for path in paths]
    records = {record.path: record for record in stored_images.records(folder, names)}
    return {
        "batch_id": found.id,
        "status": "success" if found.state == "done" else found.state,
        "created": found.created.isoformat(),
        "images_total": found.total,
        "images_generated": found.done,
        "images_failed": found.failed,
        "images_cancelled": found.cancelled,
        "images_left": found.waiting + found.running,
        "images": [_image(item, records, folder=folder) for item in found.items],
    }


def _image(item: ItemReport, records: Mapping[Path, Record], *, folder: Path) -> Mapping[str, object]:
    record = records.get(item.path) if item.path else None
    # The settings come from the file; the journal has the complete prompt and the seed.
    requested = {"prompt": item.prompt} if item.seed is None else {"prompt": item.prompt, "seed": item.seed}
    return {
        "index": item.position,
        "status": "success" if item.state == "done" else item.state,
        "file_path": path_text(item.path) if item.path else None,
        "uri": picture_uri(item.path, folder=folder) if item.path else None,
        "model": record.model and one_line(record.model) if record else None,
        "tool": "edit_image" if item.operation == "edit" else "generate_image",
        "parameters": {**(parameters_of_record(record) if record else {}), **requested},
        "error": one_line(with_program_names(item.error), limit=500) if item.error else None,
    }
