"""Check the values of the settings, and read the server's key from its file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    SecretStr,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from vllm_image_mcp.setting_table import LogLevel, Setting, SettingTable
from vllm_image_mcp.setting_values import NO_PROXY, read_key

__all__ = ["LogLevel", "Setting", "Settings"]

_TABLE = SettingTable.table()


class Settings(SettingTable, BaseModel):
    """The checked settings of a process; see `SettingTable`.

    Nothing else reads the environment. An argument overrides the environment, which overrides the file.

    Raises:
        pydantic.ValidationError: A value has the wrong type or is out of range, or the file cannot be used.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,  # the API key and headers are among them
    )

    api_key: Annotated[SecretStr | None, _TABLE["api_key"]] = None
    header: Annotated[tuple[tuple[str, SecretStr], ...] | None, _TABLE["header"]] = None
    proxy: Annotated[SecretStr | None, _TABLE["proxy"]] = None
    token: Annotated[SecretStr | None, _TABLE["token"]] = None

    @model_validator(mode="before")
    @classmethod
    def _add_other_sources(cls, arguments: dict[str, object]) -> dict[str, object]:
        return {name: given.value for name, given in cls.given(arguments).items()}

    @field_validator("*", mode="wrap")
    @classmethod
    def _clean_and_check(
        cls, value: object, validate: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> object:
        setting = cls.table().get(info.field_name or "")
        if setting and (isinstance(value, str) or (setting.repeatable and isinstance(value, tuple))):
            value = setting.clean(value)
        valid = validate(value)
        if setting:
            setting.check(valid)
        return valid

    @property
    def key(self) -> SecretStr | None:
        """The server's API key, wherever it was given."""
        if self.api_key is None and self.api_key_file is not None:
            return SecretStr(read_key(self.api_key_file))
        return self.api_key

    @property
    def chosen_proxy(self) -> SecretStr | Literal[False] | None:
        """The proxy for the servers: False for none at all, None for the environment's."""
        return False if self.proxy is not None and self.proxy.get_secret_value() == NO_PROXY else self.proxy

    @property
    def styles_folder(self) -> Path:
        """The folder of the user's styles; it need not exist."""
        if self.styles_dir is not None:
            return self.styles_dir.expanduser()
        from vllm_image_mcp.known_folders import application_settings_folder  # noqa: PLC0415 - slow to import

        return application_settings_folder() / "vllm-image-mcp" / "styles"

    @property
    def bearer_token(self) -> SecretStr | None:
        """The token that clients must send over HTTP, wherever it was given."""
        if self.token is None and self.token_file is not None:
            return SecretStr(read_key(self.token_file))
        return self.token

    @property
    def vllm_urls(self) -> tuple[str, ...]:
        """The base URLs of the servers, at least one."""
        return tuple(self.vllm_url.split(","))

    @classmethod
    def from_arguments(cls, **given: Any) -> Self:  # noqa: ANN401 - the values are checked by the fields
        """Build settings from arguments; None means that an argument was not given."""
        return cls(**{name: value for name, value in given.items() if value is not None})

    @classmethod
    def table(cls) -> Mapping[str, Setting]:
        """Return how each setting is given, by its name."""
        return {
            name: setting
            for name, field in cls.model_fields.items()
            for setting in field.metadata
            if isinstance(setting, Setting)
        }

    @classmethod
    def default(cls, name: str) -> object:
        """Return the default of a setting; None if there is none."""
        return cls.model_fields[name].default
