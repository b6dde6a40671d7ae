"""Format a model profile for the `models` command: in three lines, or in full with its sources."""

from textwrap import fill

from vllm_image_core.models.profile import Profile

_WIDTH = 100
_NAME = 28


def brief(profile: Profile) -> str:
    """Return three lines: the model's name, its default settings and memory, and its sizes."""
    settings = f"{profile.type}, {profile.default_steps} steps, guidance {profile.default_guidance_scale:g}"
    gigabytes = profile.estimated_vram_gb
    memory = "memory unknown" if gigabytes is None else f"about {gigabytes:g} GB"
    return (
        f"{profile.model}\n  {settings}, {profile.default_size}, {memory}{_editing(profile)}\n"
        f"  {_sizes(profile)}"
    )


def full(profile: Profile) -> str:
    """Return all facts about the model, each with its source below it."""
    lines = [profile.model]
    for name in type(profile).model_fields:
        value: object = getattr(profile, name)
        if name not in {"model", "sources"} and value not in (None, (), {}):
            lines.append(_wrap(f"  {name:<{_NAME}} {_text(profile, name, value)}", indent=_NAME + 3))
            if source := profile.sources.get(name):
                lines.append(_wrap(source, indent=_NAME + 5))
    return "\n".join(lines)


def _text(profile: Profile, name: str, value: object) -> str:
    match name:
        case "supported_aspect_ratios":
            return _sizes(profile)
        case "quality":
            return "; ".join(
                f"{quality}: "
                + ", ".join(f"{key} {_plain(given)}" for key, given in preset if given is not None)
                for quality, preset in profile.quality.items()
            )
        case "aliases":
            return ", ".join(profile.aliases)
        case "cost":
            return ", ".join(f"{key} {seconds:g}" for key, seconds in profile.cost)
        case _:
            return _plain(value)


def _plain(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _sizes(profile: Profile) -> str:
    return ", ".join(f"{ratio} {size}" for ratio, size in profile.supported_aspect_ratios.items())


def _editing(profile: Profile) -> str:
    if not profile.max_input_images:
        return ""
    what = "edits" if profile.text_to_image else "only edits"
    many = "images" if profile.max_input_images > 1 else "image"
    return f", {what} up to {profile.max_input_images} {many}"


def _wrap(text: str, *, indent: int) -> str:
    return fill(
        text,
        width=_WIDTH,
        initial_indent="" if text.startswith(" ") else " " * indent,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
