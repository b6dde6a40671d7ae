"""Offer prompts that a person picks from a list, filled in with what is known about the loaded model."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from mcp.server import MCPServer
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS
from pydantic import Field

from vllm_image_mcp.state import State

if TYPE_CHECKING:
    from mcp.server.mcpserver import Context
    from mcp.types import GetPromptResult, InputRequiredResult
    from vllm_image_core.models.served import ServedModel

SETTINGS: Final = ("num_inference_steps", "guidance_scale", "quality", "aspect_ratio", "seed")
"""The settings that can be compared."""

_WAIT_SECONDS: Final = 5.0
"""Longest wait for the server; if it does not answer, the prompt's text says so."""
_LEAST_VARIATIONS: Final = 2
_MOST_VARIATIONS: Final = 20
_LONGEST: Final = 20_000
_SHOWN: Final = 80
"""Maximum characters of a wrong name in an error."""

_WRITE: Final = """\
Create an image of this idea: {idea}

{model}

Write one prompt for it that follows this advice. Keep what the idea says, and add only what serves it: \
subject, setting, light, composition, style. Leave out empty words such as "masterpiece" or "8k".

Show me the prompt, then {call}.{ratio} Leave the other settings to the model. If you can \
see the image, say what fits the idea and what does not, and suggest one change. Tell me the seed and the \
file.
"""

_EXPLORE: Final = """\
Explore variations of this image: {prompt}

{model}

Write {count} prompts. Each keeps the subject and changes only one thing: the light, the point of view, the \
style, the time of day, the composition. Number them, and say in three words what each changes.

Use estimate_generation to see how long they will take; if it is more than two minutes, ask me first. Then \
call {call} and with the same seed for each, so that nothing else differs. If it \
is still running when the call returns, continue with get_batch.

Show me the images by number, say which two are best and why if you can see them, and ask which direction \
to take. Base the next round on the one that I choose.
"""

_COMPARE: Final = """\
Compare {asked}. The image: {prompt}

{model}

Use estimate_generation to see how long it will take; if it is more than two minutes, ask me first. Then \
call {call}: it keeps everything else the same{seed}. If it is still running when the call returns, continue \
with get_batch.

Show me the images next to their values, describe what changes from one to the next if you can see it \
and how many seconds each takes, and recommend one. Say so if there is no visible difference.
"""

_GENERATE_ONE: Final = "call generate_image with it"
_EDIT_ONE: Final = (
    "call edit_image with it and with the image to start from; ask me which one if I have not said"
)
_GENERATE_EACH: Final = "batch_generate once with all of them"
_EDIT_EACH: Final = (
    "edit_image once for each, with the same image to start from (ask me which one if I have not said)"
)
_SWEEP: Final = (
    'batch_generate once, with that one prompt and with the values in sweep, as in {{"{name}": [...]}}'
)
_EDIT_WITH_EACH: Final = (
    "edit_image once for each value, with that one prompt, one seed and the same image (ask me which one if "
    "I have not said)"
)
_CHOSEN: Final = "three values of {name} that this model can tell apart, its default among them"

Idea = Annotated[str, Field(description="What the image should show, in any words.")]
Ratio = Annotated[str | None, Field(description="E.g. 16:9. Default: the model's.")]
Count = Annotated[str | None, Field(description="How many images, 2 to 20. Default: 4.")]
Setting = Annotated[str | None, Field(description=f"{', '.join(SETTINGS)}. Default: num_inference_steps.")]
Values = Annotated[str | None, Field(description="Separated by commas. Default: three that fit the model.")]


class PromptServer(MCPServer[State]):
    """An MCP server that explains a bad prompt request; the SDK alone would report an internal error."""

    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: Context[State] | None = None
    ) -> GetPromptResult | InputRequiredResult:
        """Fill in a prompt.

        Raises:
            MCPError: There is no such prompt, or an argument is missing, unknown or invalid.
        """
        arguments_of = {prompt.name: prompt.arguments or [] for prompt in await self.list_prompts()}
        if name not in arguments_of:
            raise _invalid(f"There is no prompt {name[:_SHOWN]!r}. Use one of: {', '.join(arguments_of)}.")
        given = arguments or {}
        missing = [each.name for each in arguments_of[name] if each.required and each.name not in given]
        unknown = [each[:_SHOWN] for each in given if each not in {each.name for each in arguments_of[name]}]
        if missing or unknown:
            wrong = f"needs the argument {missing[0]!r}" if missing else f"has no argument {unknown[0]!r}"
            allowed = ", ".join(each.name for each in arguments_of[name])
            raise _invalid(f"{name} {wrong}. Its arguments are: {allowed}.")
        return await super().get_prompt(name, arguments, context)


def add_prompts(server: MCPServer[State], state: State) -> None:
    """Register the prompts; the server is asked for its model when one of them is picked."""
    prompts = Prompts(state)
    server.prompt(
        name="write_image_prompt",
        title="Write a good prompt",
        description="Turn an idea into a prompt that suits the loaded model, and generate the image.",
    )(prompts.write)
    server.prompt(
        name="explore_variations",
        title="Explore variations",
        description="Generate several images of one idea that differ in one thing each, and pick from them.",
    )(prompts.explore)
    server.prompt(
        name="compare_settings",
        title="Compare settings",
        description="Generate the same image with several values of one setting, and see what changes.",
    )(prompts.compare)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    """What a prompt says about the loaded model, and whether the model can only edit."""

    description: str
    only_edits: bool = False


class Prompts:
    """Fills in the text of each prompt."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def write(self, idea: Idea, aspect_ratio: Ratio = None) -> str:
        """Ask for a prompt that suits the model, and for its image."""
        loaded = await self._describe_model()
        given = _check("aspect_ratio", aspect_ratio) if aspect_ratio else None
        return _WRITE.format(
            idea=_check("idea", idea),
            call=_EDIT_ONE if loaded.only_edits else _GENERATE_ONE,
            ratio=f' Use aspect_ratio "{given}".' if given and not loaded.only_edits else "",
            model=loaded.description,
        )

    async def explore(self, prompt: Idea, count: Count = None) -> str:
        """Ask for a batch of images that differ in one thing each."""
        loaded = await self._describe_model()
        return _EXPLORE.format(
            prompt=_check("prompt", prompt),
            count=_count(count),
            call=_EDIT_EACH if loaded.only_edits else _GENERATE_EACH,
            model=loaded.description,
        )

    async def compare(self, prompt: Idea, setting: Setting = None, values: Values = None) -> str:
        """Ask for the same image with several values of one setting."""
        name = setting or SETTINGS[0]
        if name not in SETTINGS:
            raise _refusal("setting", name, ", ".join(SETTINGS))
        asked = f"these values of {name}: {_check('values', values)}" if values else _CHOSEN.format(name=name)
        loaded = await self._describe_model()
        return _COMPARE.format(
            asked=asked,
            call=_EDIT_WITH_EACH if loaded.only_edits else _SWEEP.format(name=name),
            prompt=_check("prompt", prompt),
            seed="" if name == "seed" else ", the seed too",
            model=loaded.description,
        )

    async def _describe_model(self) -> _Loaded:
        """A few lines about the loaded model, or why nothing is known about it."""
        from vllm_image_core.errors import ImageError  # noqa: PLC0415 - the server starts without it
        from vllm_omni_client.errors import OmniError  # noqa: PLC0415 - likewise

        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                model = await self._state.studio.model()
                return _Loaded(
                    description=_model_description(model), only_edits=not model.profile.text_to_image
                )
        except TimeoutError:
            why = f"it did not answer within {_WAIT_SECONDS:.0f} s"
        except (ImageError, OmniError) as error:
            why = error.message.rstrip(".")
        return _Loaded(
            description=f"The image server at {self._state.server_url} does not report its loaded model: "
            f"{why}. Call server_health before anything else, and get_model_info once it is healthy."
        )


def _model_description(model: ServedModel) -> str:
    profile = model.profile
    lines = [f"The loaded model is {model.name}."]
    if not profile.text_to_image:
        lines.append(
            "It only edits images and cannot generate them from text alone, so generate_image fails."
        )
    if profile.prompting:
        lines.append(f"How to write for it: {profile.prompting}")
    negative = (
        "It supports negative prompts."
        if profile.supports_negative_prompt
        else "It does not support negative prompts: say what is wanted instead."
    )
    tokens = profile.max_prompt_tokens
    lines.append(negative if tokens is None else f"It reads at most {tokens} tokens of a prompt. {negative}")
    ratios = f"Aspect ratios: {', '.join(profile.supported_aspect_ratios)}."
    lines.append(ratios if profile.text_to_image else "The result has the size of the first image.")
    lines.append(
        f"Its own settings: {profile.default_steps} steps, guidance_scale "
        f"{profile.default_guidance_scale:g}, {profile.default_size}."
    )
    lines.extend(model.warnings)
    return "\n".join(lines)


def _check(name: str, value: str) -> str:
    if not 1 <= len(value.strip()) <= _LONGEST:
        raise _refusal(name, value, f"1 to {_LONGEST} characters")
    return value.strip()


def _count(count: str | None) -> int:
    if count is None or not (text := count.strip()):
        return 4
    if not (text.isdecimal() and _LEAST_VARIATIONS <= int(text[:4]) <= _MOST_VARIATIONS):
        raise _refusal("count", count, f"a number from {_LEAST_VARIATIONS} to {_MOST_VARIATIONS}")
    return int(text)


def _refusal(name: str, value: str, allowed: str) -> MCPError:
    return _invalid(f"{name} is {value[:_SHOWN]!r}. Use {allowed}.")


def _invalid(message: str) -> MCPError:
    return MCPError(code=INVALID_PARAMS, message=message)
