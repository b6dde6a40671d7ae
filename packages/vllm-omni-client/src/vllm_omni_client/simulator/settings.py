"""What a simulated server is started with."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from vllm_omni_client.simulator.faults.fault import AsFault

DEFAULT_MODEL = "black-forest-labs/FLUX.2-klein-4B"
_8K_PIXELS = 7680 * 4320  # the default of vLLM-Omni 0.30.0 for --max-generated-image-size


def _as_names(value: object) -> object:
    """One name alone is a tuple of one."""
    return (value,) if isinstance(value, str) else value


class SimulatorSettings(BaseModel):
    """The options of a simulated server; each is also an option of `vllm-omni-simulator`.

    Raises:
        pydantic.ValidationError: A value is out of its range, or a name is unknown.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model: str = Field(default=DEFAULT_MODEL, min_length=1)
    """The Hugging Face id or the path of the model to stand in for; its last part decides on the rules."""
    served_model_name: Annotated[str | tuple[str, ...] | None, BeforeValidator(_as_names)] = None
    """The names under which the model is served; a request may use the first only. None: `model` itself."""
    api_key: str | None = Field(default=None, min_length=1, repr=False)
    """What `Authorization: Bearer` must carry on `/v1/*`; None leaves the server open."""
    server_version: str = Field(default="0.30.0", min_length=1)
    """What `/version` answers; the contract is that of the newest of 0.14, 0.16, ... 0.30 not newer."""
    max_num_seqs: int = Field(default=1, ge=1)
    """Requests that may run in one wave; more than 1 only for models that can batch."""
    max_generated_image_size: int | None = Field(default=_8K_PIXELS, ge=1)
    """The largest picture in pixels; None: no limit."""
    speed: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """Time in units of the real model's on one H100: 1 takes as long, 0.5 half as long, 0 answers at once."""
    vram_gib: float | None = Field(default=32.0, gt=0.0, allow_inf_nan=False)
    """The GPU's memory in GiB; None: without end. Unless it is given, a model that needs more has more."""
    lora_paths: tuple[str, ...] = ()
    """The paths under which LoRA adapters lie on the simulated server; a request for another one fails."""
    startup_seconds: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)
    """How long the port refuses connections, as that of a server which still loads its model."""

    faults: tuple[AsFault, ...] = ()
    """What goes wrong, and with which requests; each may be written as text, such as "status@1"."""
    fault_seed: int = 0
    """Decides which requests are met by a fault that meets some percent of them."""
    control: bool = False
    """Whether `/simulator/faults` lets anybody who reaches the port steer the faults."""

    @property
    def served_names(self) -> tuple[str, ...]:
        """Every name of `/v1/models`, the first of them being the one that requests may use."""
        names = self.served_model_name
        if not names:
            return (self.model,)
        return (names,) if isinstance(names, str) else names
