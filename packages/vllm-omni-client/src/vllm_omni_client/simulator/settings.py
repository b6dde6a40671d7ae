"""Define and validate the settings that a simulated server starts with."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from vllm_omni_client.simulator.faults.fault import AsFault

DEFAULT_MODEL = "black-forest-labs/FLUX.2-klein-4B"
_8K_PIXELS = 7680 * 4320  # the default of vLLM-Omni 0.30.0 for --max-generated-image-size


def _as_names(value: object) -> object:
    """Wrap a single name in a tuple."""
    return (value,) if isinstance(value, str) else value


class SimulatorSettings(BaseModel):
    """Settings of a simulated server; each one is also an option of `vllm-omni-simulator`.

    Raises:
        pydantic.ValidationError: A value is out of range, or a name is unknown.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str = Field(default=DEFAULT_MODEL, min_length=1)
    """Hugging Face id or path of the model to simulate; its last part selects the model's rules."""
    served_model_name: Annotated[str | tuple[str, ...] | None, BeforeValidator(_as_names)] = None
    """Names the model is served under; requests may only use the first. None: `model` itself."""
    api_key: str | None = Field(default=None, min_length=1, repr=False)
    """Key that `Authorization: Bearer` must contain on `/v1/*`; None: no key is needed."""
    server_version: str = Field(default="0.30.0", min_length=1)
    """Version that `/version` reports; the contract is that of the latest even release up to it."""
    max_num_seqs: int = Field(default=1, ge=1)
    """How many requests may run as one batch; more than 1 only for models that support batching."""
    max_generated_image_size: int | None = Field(default=_8K_PIXELS, ge=1)
    """The largest image, in pixels; None: no limit."""
    speed: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """Duration relative to the real model on an H100: 1 takes as long, 0.5 half as long, 0 no time."""
    vram_gib: float | None = Field(default=32.0, ge=0.0, allow_inf_nan=False)
    """GPU memory in GiB; None: unlimited; 0: no GPU. Not set: 32, or 80 for a model that needs more."""
    lora_paths: tuple[str, ...] = ()
    """Paths of the LoRA adapters on the simulated server; a request for any other path fails."""
    startup_seconds: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """How long the port refuses connections (s), like a server that is still loading its model."""

    faults: tuple[AsFault, ...] = ()
    """What goes wrong, and for which requests; each may be written as text, such as "status@1"."""
    fault_seed: int = 0
    """Seed that decides which requests a fault with a percentage affects."""
    control: bool = False
    """Whether `/simulator/faults` is enabled, which lets anyone who can reach the port control the faults."""

    @property
    def served_names(self) -> tuple[str, ...]:
        """Every name that `/v1/models` lists; requests may use the first one."""
        names = self.served_model_name
        if not names:
            return (self.model,)
        return (names,) if isinstance(names, str) else names
