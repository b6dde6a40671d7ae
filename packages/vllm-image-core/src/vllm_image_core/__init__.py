"""Generate images on a vLLM-Omni server, from a notebook or a program.

::

    from vllm_image_core import Studio

    studio = Studio("http://localhost:6655")
    image = await studio.generate("a red fox in the snow")
    image

Start with `Studio`, or with `BlockingStudio` if you prefer not to write `await`. Their methods take and
return the other names in this package:

- Ask for images: `ImageRequest`, `EditRequest`, `InputImage`, `Quality`; `RequestValues` names the
  parameters of `Studio.generate`.
- Save styles under a name: `Style`, `Styles`.
- Get them: `GeneratedImage` with its `Picture`, `Receipt` and `ResolvedRequest`.
- Run batches of `Prompts`: `ImageBatch`, whose outcomes are `Done` or `Failed`; `BatchForecast`, `Progress`,
  `Eta`, `Event`; `BatchSummary` and `FoundBatch` for batches in the journal.
- Find images in the output folder: `Page`, `Record`, `Query`. Rank those of a batch: `Score`,
  `RankedImage`. Read the parameters in any image file: `recall`, `RecalledRequest`.
- Show images: `ImageGrid`, `ImageSource`, `Axis`, `PreviewFormat`.
- Inspect the server and its model: `Health`, `ServerReport`, `ServedModel`, `Profile`, `Registry`, `Gpu`,
  `GpuReport`, `Estimate`. Use another kind of server: `Backend`.
- Generate datasets, on a cluster if you like: `generate_dataset`, `DatasetRun`, `DatasetProgress`,
  `ImageGenerator`, `ImageRow`. Pack them for training: `write_shards`, `ShardSet`, `SampleFilter`,
  `TrainingSample`.
- Handle errors: every error of this package is an `ImageError`; every error of the server is a
  `vllm_omni_client.OmniError`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vllm_image_core.batch_file.frame_rows import DataFrame
    from vllm_image_core.batch_file.request_rows import RefusedRow
    from vllm_image_core.batches.events import Event, EventKind, EventStream
    from vllm_image_core.batches.forecast import BatchForecast
    from vllm_image_core.batches.handle import ImageBatch
    from vllm_image_core.batches.item_states import Progress
    from vllm_image_core.batches.items import Done, Failed
    from vllm_image_core.batches.items import State as RequestState
    from vllm_image_core.batches.limits import Limits
    from vllm_image_core.batches.ranking import RankedImage, Ranking, Score
    from vllm_image_core.batches.results import Results
    from vllm_image_core.batches.summary import BatchState, BatchSummary, FoundBatch, ItemReport
    from vllm_image_core.blocking.batch import BlockingBatch
    from vllm_image_core.blocking.studio import BlockingStudio
    from vllm_image_core.datasets.dataset import DatasetRun, generate_dataset
    from vllm_image_core.datasets.image_generator import ImageGenerator
    from vllm_image_core.datasets.image_row import ImageRow
    from vllm_image_core.datasets.progress import DatasetProgress
    from vllm_image_core.datasets.shards import ShardSet, write_shards
    from vllm_image_core.datasets.training_sample import SampleFilter, TrainingSample
    from vllm_image_core.errors import (
        BadPicture,
        BadProfile,
        BatchInUse,
        BatchMoved,
        CannotSave,
        DatabaseUnavailable,
        ImageError,
        IndexUnavailable,
        InvalidRequest,
        JournalUnavailable,
        LimitReached,
        MissingPackage,
        NotEnoughSpace,
        NotRecalled,
        PictureNotSaved,
        PoisonRequest,
        RecordedFailure,
        RunStopped,
        UnknownBatch,
        VerdictsUnavailable,
    )
    from vllm_image_core.estimation.backlog import Eta
    from vllm_image_core.estimation.estimator import Estimate
    from vllm_image_core.estimation.gpu import Gpu, GpuReport
    from vllm_image_core.estimation.service_times import ServiceTimes
    from vllm_image_core.fleet.backend import Backend, ImageBackend
    from vllm_image_core.fleet.health import Health, ServerStatus
    from vllm_image_core.fleet.server import ServerReport
    from vllm_image_core.imaging.picture import Picture
    from vllm_image_core.imaging.preview import Axis, PreviewFormat
    from vllm_image_core.imaging.size import Size
    from vllm_image_core.models.profile import Profile
    from vllm_image_core.models.quality import Quality
    from vllm_image_core.models.registry import Match, Registry
    from vllm_image_core.models.served import ServedModel
    from vllm_image_core.provenance.metadata import Metadata
    from vllm_image_core.provenance.recall import RecalledInput, RecalledRequest, recall
    from vllm_image_core.requests.edit_request import EditRequest
    from vllm_image_core.requests.edit_resolver import ResolvedEdit
    from vllm_image_core.requests.expansion import Expansion, Prompts, PromptSource, Variations
    from vllm_image_core.requests.fields import RequestValues
    from vllm_image_core.requests.generated_image import GeneratedImage
    from vllm_image_core.requests.image_request import ImageRequest
    from vllm_image_core.requests.input_picture import InputImage, InputPicture, InputSource
    from vllm_image_core.requests.receipt import Receipt
    from vllm_image_core.requests.resolver import ResolvedRequest, resolve
    from vllm_image_core.requests.style import Style
    from vllm_image_core.requests.style_folder import Styles
    from vllm_image_core.storage.index import Page
    from vllm_image_core.storage.query import Query
    from vllm_image_core.storage.record import Record
    from vllm_image_core.studio import Studio
    from vllm_image_core.studio_views import ImageGrid, ImageSource

__all__ = [
    "Axis",
    "Backend",
    "BadPicture",
    "BadProfile",
    "BatchForecast",
    "BatchInUse",
    "BatchMoved",
    "BatchState",
    "BatchSummary",
    "BlockingBatch",
    "BlockingStudio",
    "CannotSave",
    "DataFrame",
    "DatabaseUnavailable",
    "DatasetProgress",
    "DatasetRun",
    "Done",
    "EditRequest",
    "Estimate",
    "Eta",
    "Event",
    "EventKind",
    "EventStream",
    "Expansion",
    "Failed",
    "FoundBatch",
    "GeneratedImage",
    "Gpu",
    "GpuReport",
    "Health",
    "ImageBackend",
    "ImageBatch",
    "ImageError",
    "ImageGenerator",
    "ImageGrid",
    "ImageRequest",
    "ImageRow",
    "ImageSource",
    "IndexUnavailable",
    "InputImage",
    "InputPicture",
    "InputSource",
    "InvalidRequest",
    "ItemReport",
    "JournalUnavailable",
    "LimitReached",
    "Limits",
    "Match",
    "Metadata",
    "MissingPackage",
    "NotEnoughSpace",
    "NotRecalled",
    "Page",
    "Picture",
    "PictureNotSaved",
    "PoisonRequest",
    "PreviewFormat",
    "Profile",
    "Progress",
    "PromptSource",
    "Prompts",
    "Quality",
    "Query",
    "RankedImage",
    "Ranking",
    "RecalledInput",
    "RecalledRequest",
    "Receipt",
    "Record",
    "RecordedFailure",
    "RefusedRow",
    "Registry",
    "RequestState",
    "RequestValues",
    "ResolvedEdit",
    "ResolvedRequest",
    "Results",
    "RunStopped",
    "SampleFilter",
    "Score",
    "ServedModel",
    "ServerReport",
    "ServerStatus",
    "ServiceTimes",
    "ShardSet",
    "Size",
    "Studio",
    "Style",
    "Styles",
    "TrainingSample",
    "UnknownBatch",
    "Variations",
    "VerdictsUnavailable",
    "generate_dataset",
    "recall",
    "resolve",
    "write_shards",
]

_NAMES: Final = {
    "batch_file.frame_rows": ("DataFrame",),
    "batch_file.request_rows": ("RefusedRow",),
    "batches.events": ("Event", "EventKind", "EventStream"),
    "batches.handle": ("ImageBatch",),
    "batches.forecast": ("BatchForecast",),
    "batches.item_states": ("Progress",),
    "batches.limits": ("Limits",),
    "batches.ranking": ("RankedImage", "Ranking", "Score"),
    "batches.results": ("Results",),
    "batches.summary": ("BatchState", "BatchSummary", "FoundBatch", "ItemReport"),
    "batches.items": ("Done", "Failed", "RequestState"),
    "blocking.batch": ("BlockingBatch",),
    "blocking.studio": ("BlockingStudio",),
    "datasets.dataset": ("DatasetRun", "generate_dataset"),
    "datasets.image_generator": ("ImageGenerator",),
    "datasets.image_row": ("ImageRow",),
    "datasets.progress": ("DatasetProgress",),
    "datasets.shards": ("ShardSet", "write_shards"),
    "datasets.training_sample": ("SampleFilter", "TrainingSample"),
    "estimation.backlog": ("Eta",),
    "estimation.estimator": ("Estimate",),
    "estimation.gpu": ("Gpu", "GpuReport"),
    "estimation.service_times": ("ServiceTimes",),
    "fleet.backend": ("Backend", "ImageBackend"),
    "fleet.health": ("Health", "ServerStatus"),
    "fleet.server": ("ServerReport",),
    "imaging.picture": ("Picture",),
    "imaging.preview": ("Axis", "PreviewFormat"),
    "imaging.size": ("Size",),
    "models.profile": ("Profile",),
    "models.registry": ("Match", "Registry"),
    "models.served": ("ServedModel",),
    "models.quality": ("Quality",),
    "provenance.metadata": ("Metadata",),
    "provenance.recall": ("RecalledInput", "RecalledRequest", "recall"),
    "requests.edit_request": ("EditRequest",),
    "requests.edit_resolver": ("ResolvedEdit",),
    "requests.expansion": ("Expansion", "PromptSource", "Prompts", "Variations"),
    "requests.fields": ("RequestValues",),
    "requests.generated_image": ("GeneratedImage",),
    "requests.image_request": ("ImageRequest",),
    "requests.input_picture": ("InputImage", "InputPicture", "InputSource"),
    "requests.receipt": ("Receipt",),
    "requests.resolver": ("ResolvedRequest", "resolve"),
    "requests.style": ("Style",),
    "requests.style_folder": ("Styles",),
    "storage.index": ("Page",),
    "storage.query": ("Query",),
    "storage.record": ("Record",),
    "studio": ("Studio",),
    "studio_views": ("ImageGrid", "ImageSource"),
}
"""The public names by module; all others are in `errors`."""

_HOMES: Final = {name: module for module, names in _NAMES.items() for name in names}
_NAMED_THERE: Final = {"RequestState": "State"}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used, so that `import vllm_image_core` itself is fast."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(f"{__name__}.{_HOMES.get(name, 'errors')}")
    return getattr(home, _NAMED_THERE.get(name, name))


def __dir__() -> list[str]:
    """List the public names, including those not imported yet, for completion with Tab."""
    return sorted({*(name for name in globals() if name.startswith("__")), *__all__})
