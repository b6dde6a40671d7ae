"""The numbers of a conversation's picture: nobody checks their types, and pipelines stumble over wrong ones.

Seen on vLLM-Omni 0.30.0 with FLUX.2-klein and Qwen-Image. Where they differ, other models are taken for
the first.
"""

from collections.abc import Mapping
from typing import Final, SupportsFloat, SupportsInt, cast

from vllm_omni_client.simulator.model_rules import ModelRules

_UINT64_LIMIT: Final = 2**64


class ChatNumbers:
    """The options of a picture that are numbers, or should be.

    Args:
        options: As given.
        rules: Of the model that draws.

    Raises:
        TypeError: Each of them, in the words that the server answers 500 with.
        OverflowError: Likewise.
    """

    def __init__(self, options: Mapping[str, object], rules: ModelRules) -> None:
        self._options = options
        self._rules = rules
        self._is_qwen = rules.reads_true_cfg_scale

    def check(self) -> None:
        """Look at what the server looks at first."""
        self._check_steps(self._options.get("num_inference_steps"))
        resolution = self._options.get("resolution")
        if resolution is not None:
            _whole(resolution)

    @property
    def size(self) -> tuple[int | None, int | None]:
        """Width and height; from a size only where one of them is missing, and from a readable one."""
        size, sides = self._options.get("size"), (self._options.get("width"), self._options.get("height"))
        if isinstance(size, str) and "x" in size.lower() and None in sides:
            try:
                first, second = map(int, size.lower().split("x"))
            except ValueError:
                pass
            else:
                return first, second
        return self._side(sides[0]), self._side(sides[1])

    @property
    def count(self) -> int:
        """How many pictures; null is not taken for one."""
        count = self._options.get("num_outputs_per_prompt", 1)
        if not isinstance(count, int | float):
            raise _not_compared(count, "'>'", "int")
        if isinstance(count, float) and count > 0:
            raise TypeError(
                "can't multiply sequence by non-int of type 'float'"
                if self._is_qwen
                else "repeat(): argument 'repeats' failed to unpack the object at pos 2 "
                'with error "type must be tuple of ints,but got float"'
            )
        return int(count) or 1

    @property
    def seed(self) -> int | None:
        """Where the noise begins."""
        seed = self._options.get("seed")
        if seed is not None and type(seed) is not int:
            raise TypeError(f"manual_seed expected a long, but got {type(seed).__name__}")
        return seed

    @property
    def steps(self) -> int | None:
        """The denoising steps."""
        steps = self._options.get("num_inference_steps")
        return int(steps) if isinstance(steps, int | float) else None

    @property
    def guidance_scale(self) -> float | None:
        """What most models are guided by."""
        scale = self._options.get("guidance_scale")
        if scale is not None and not isinstance(scale, int | float):
            raise _not_compared(scale, "'>'", "float")
        if isinstance(scale, int) and scale >= _UINT64_LIMIT and not self._is_qwen:
            raise OverflowError("int too big to convert")
        return scale

    @property
    def true_cfg_scale(self) -> float | None:
        """What Qwen-Image is guided by; others do not look at it."""
        scale = self._options.get("true_cfg_scale")
        if not (self._is_qwen and scale):
            return None
        if not isinstance(scale, int | float):
            raise _not_compared(scale, "'>'", "int")
        return scale

    def _check_steps(self, steps: object) -> None:
        """Steps that are no whole number fail where a pipeline first calculates with them."""
        if self._is_qwen and not isinstance(steps, int | float) and steps is not None and not steps:
            _real(steps)
        if steps is not None and not isinstance(steps, int | float):
            if self._rules.family.positive_steps:
                raise _not_compared(steps, "'<='", "int")
            raise TypeError(f"unsupported operand type(s) for /: 'int' and '{type(steps).__name__}'")
        if steps is not None and steps <= 0 and self._rules.family.positive_steps:
            raise TypeError(f"num_inference_steps must be positive, got {steps}")
        if isinstance(steps, float) and steps:
            raise TypeError("'float' object cannot be interpreted as an integer")

    def _side(self, side: object) -> int | None:
        """A side in pixels, for 0 the default."""
        if side is None:
            return None
        if self._is_qwen:
            return _whole(side) if side else _real(side)
        if isinstance(side, str):
            raise TypeError("not all arguments converted during string formatting")
        if not isinstance(side, int | float):
            raise TypeError(f"unsupported operand type(s) for %: '{type(side).__name__}' and 'int'")
        return int(side) or None


def _whole(value: object) -> int:
    try:
        return int(cast("SupportsInt", value))
    except ValueError as error:
        raise TypeError(str(error)) from error


def _real(value: object) -> None:
    """Fail as the server does over what is empty and no number."""
    try:
        float(cast("SupportsFloat", value))
    except ValueError as error:
        raise TypeError(str(error)) from error


def _not_compared(value: object, operator: str, other: str) -> TypeError:
    kind = type(value).__name__
    return TypeError(f"{operator} not supported between instances of '{kind}' and '{other}'")
