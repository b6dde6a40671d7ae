"""Start a process: set up logging, check the user's profiles, and print expected errors as sentences."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import click
from vllm_image_core.errors import CannotSave, ImageError
from vllm_omni_client.errors import OmniError

from vllm_image_mcp.error_messages import sentence
from vllm_image_mcp.state import State

if TYPE_CHECKING:
    from collections.abc import Generator

    from vllm_image_mcp.settings import Settings

_logger = logging.getLogger(__name__)

_PACKAGES: Final = ("vllm_omni_client", "vllm_image_core", "vllm_image_mcp")


@contextmanager
def report_errors() -> Generator[None]:
    """Turn expected errors into a line on stderr and exit status 1."""
    try:
        yield
    except (ImageError, OmniError) as error:
        raise click.ClickException(sentence(error)) from error


def check_profiles(settings: Settings) -> None:
    """Report an invalid profile at startup, where a person sees it, rather than at the first image."""
    if settings.profiles is not None:
        with report_errors():
            _ = State(settings).registry


def check_output_folder(settings: Settings) -> None:
    """Report at startup an output folder that cannot exist on this system; only warn of a missing drive."""
    if sys.platform not in {"win32", "darwin"} or "output_dir" not in settings.model_fields_set:
        return
    from vllm_image_core.storage.folder_paths import (  # noqa: PLC0415 - not needed elsewhere
        check_drive,
        check_folder_path,
    )

    try:
        check_drive(settings.output_dir)
    except CannotSave as error:  # it may be connected later, so each call checks again
        _logger.warning("%s", sentence(error))
        return
    with report_errors():
        check_folder_path(settings.output_dir)


def start_logging(settings: Settings) -> None:
    """Send log lines to stderr from the configured level on; from libraries, only warnings and errors."""
    libraries = "ERROR" if settings.log_level == "ERROR" else "WARNING"
    logging.basicConfig(stream=sys.stderr, level=libraries, format="%(levelname)s %(name)s: %(message)s")
    for package in _PACKAGES:
        logging.getLogger(package).setLevel(settings.log_level)
