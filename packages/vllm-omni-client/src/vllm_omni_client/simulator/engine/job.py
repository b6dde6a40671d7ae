"""Turn a parsed request into an engine job, by the rules of its model."""

import math
import secrets
from collections.abc import Collection
from dataclasses import dataclass

from vllm_omni_client.simulator.drawing.drawing import Layer, Subject, draw
from vllm_omni_client.simulator.drawing.editing import Sources
from vllm_omni_client.simulator.drawing.encoding import PictureFormat
from vllm_omni_client.simulator.engine.device import check_device
from vllm_omni_client.simulator.engine.engine import EngineTask
from vllm_omni_client.simulator.engine.model_rules import DEFAULT_STEPS, ModelRules, WorkerError, check_steps
from vllm_omni_client.simulator.engine.out_of_memory import check_image_count
from vllm_omni_client.simulator.http.adapter_path import missing_adapter
from vllm_omni_client.simulator.http.parsed_request import Adapter, ParsedRequest

Pictures = tuple[bytes, ...]
_LAYER_RESOLUTION, _LAYER_MULTIPLE = 640, 32  # vllm-omni 0.30.0, pipeline_qwen_image_layered.py
_LEAST_SEED, _SEED_LIMIT = -(2**63), 2**64  # what PyTorch accepts, signed or unsigned


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineJob:
    """What this model generates for a request: the images to draw and how to encode them."""

    subjects: tuple[Subject, ...]
    format: PictureFormat
    output_compression: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of each image in pixels."""
        return self.subjects[0].width, self.subjects[0].height

    @property
    def steps(self) -> int:
        """The denoising steps to run."""
        return self.subjects[0].steps

    def pictures(self) -> Pictures:
        """Draw and encode the images; takes about 10 ms of CPU time per megapixel."""
        return tuple(
            self.format.encode(draw(subject), output_compression=self.output_compression)
            for subject in self.subjects
        )

    def task(self, rules: ModelRules) -> EngineTask[Pictures]:
        """Return the job as a task for the engine."""
        first = self.subjects[0]
        pixels, n = first.width * first.height, len(self.subjects)
        guided = first.guidance is not None
        scale = first.guidance.scale if first.guidance else None
        alike = object() if first.sources is not None else first.adapter
        return EngineTask(
            pixels=pixels * n,
            seconds=rules.seconds(pixels=pixels, steps=first.steps, guided=guided, n=n),
            batch_key=(first.width, first.height, first.steps, scale, n, alike),
            produce=self.pictures,
        )


def create_job(
    parsed: ParsedRequest, rules: ModelRules, *, adapters: Collection[str], has_gpu: bool = True
) -> EngineJob:
    """Create the job for a request, from the fields that the model reads.

    Raises:
        WorkerError: The model refuses the request.
    """
    adapter = _active_adapter(parsed)
    if adapter is not None and adapter.path not in adapters:
        raise missing_adapter(adapter.path)
    if parsed.generator_device is not None:
        check_device(parsed.generator_device, has_gpu=has_gpu)
    seed = secrets.randbelow(2**32) if parsed.seed is None else parsed.seed
    if not _LEAST_SEED <= seed < _SEED_LIMIT:
        raise WorkerError("Overflow when unpacking long long")
    subjects = _subjects(parsed, rules, seed)
    picture_format = PictureFormat.choose(parsed.output_format)
    return EngineJob(subjects=subjects, format=picture_format, output_compression=parsed.output_compression)


def _subjects(parsed: ParsedRequest, rules: ModelRules, seed: int) -> tuple[Subject, ...]:
    steps = DEFAULT_STEPS if parsed.steps is None else parsed.steps
    rules.check_edit(steps=steps, strength=parsed.strength, edits=bool(parsed.pictures))
    prompt = rules.prompt(parsed.prompt)
    guidance = rules.guidance(
        guidance_scale=parsed.guidance_scale,
        true_cfg_scale=parsed.true_cfg_scale,
        negative_prompt=parsed.negative_prompt,
    )
    if guidance is not None:
        rules.check_negative_prompt(guidance.negative_prompt)
    width, height = _size(parsed, rules)
    _check_guides(parsed, rules, size=(width, height))
    check_steps(steps)
    sources = _sources(parsed, rules, steps)
    n = max(1, parsed.n)
    check_image_count(n)
    return tuple(
        Subject(
            prompt=prompt,
            guidance=guidance,
            width=width,
            height=height,
            steps=steps,
            seed=seed,
            place=None if n == 1 else index,
            adapter=_active_adapter(parsed),
            sources=sources,
            layer=layer,
        )
        for index in range(n)
        for layer in _layers(parsed, rules)
    )


def _layers(parsed: ParsedRequest, rules: ModelRules) -> tuple[Layer | None, ...]:
    """Return the layers of each image; only None, which is the image itself, if the model makes none."""
    if rules.family.layers is None:
        return (None,)
    count = rules.family.layers if parsed.layers is None else parsed.layers
    return tuple(Layer(number=number, count=count) for number in range(count))


def _size(parsed: ParsedRequest, rules: ModelRules) -> tuple[int, int]:
    """Return the size of the images; if none is requested, an edit uses the size of its first input image."""
    width, height = parsed.width, parsed.height
    if parsed.pictures and rules.family.reads_pictures:
        for picture in parsed.pictures:
            rules.check_input(*picture.size)
        for picture in parsed.pictures:
            picture.load()
        if rules.family.layers is not None:
            return rules.size(*_layered_size(parsed))
        if width is None or height is None:
            width, height = _within_megapixel(*parsed.pictures[0].size)
    return rules.size(width, height)


def _layered_size(parsed: ParsedRequest) -> tuple[int, int]:
    """Return the size of layers: that of the resolution, whatever size the request gives."""
    resolution = _LAYER_RESOLUTION if parsed.resolution is None else parsed.resolution
    aspect = parsed.pictures[0].width / parsed.pictures[0].height
    width = math.sqrt(resolution * resolution * aspect)
    return round(width / _LAYER_MULTIPLE) * _LAYER_MULTIPLE, round(
        width / aspect / _LAYER_MULTIPLE
    ) * _LAYER_MULTIPLE


def _within_megapixel(width: int, height: int) -> tuple[int, int]:
    """Return the size to which the server scales down an input image of more than one megapixel."""
    scale = min(1.0, math.sqrt(1024 * 1024 / (width * height)))
    return int(width * scale), int(height * scale)


def _active_adapter(parsed: ParsedRequest) -> Adapter | None:
    """Return the adapter to apply; one with the scale 0 is not even loaded."""
    return parsed.adapter if parsed.adapter and parsed.adapter.scale else None


def _check_guides(parsed: ParsedRequest, rules: ModelRules, *, size: tuple[int, int]) -> None:
    """Check the reference image and the mask, if the model reads any images."""
    if not rules.family.reads_pictures:
        return
    if parsed.reference is not None and rules.family.strength == "read_with_mask":
        rules.check_reference(*parsed.reference.size)
    if parsed.mask is not None:
        rules.check_mask([_within_megapixel(*picture.size) for picture in parsed.pictures], size)


def _sources(parsed: ParsedRequest, rules: ModelRules, steps: int) -> Sources | None:
    if not parsed.pictures or not rules.family.reads_pictures:
        return None
    guided = parsed.mask is not None or parsed.reference is not None
    strength = rules.strength(parsed.strength, steps=steps, guided=guided)
    further = () if parsed.reference is None else (parsed.reference,)
    return Sources(pictures=(*parsed.pictures, *further), mask=parsed.mask, strength=strength)
