"""Settings: one TOML file for all roles, each key overridden by the environment, refused when a value is wrong."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from app.config.providers import Providers, ProviderSettings
from app.config.secret import NoSecret, installation_secret, suppression_keys
from app.config.sections import (
    ApiKey,
    Auth,
    BadCertificate,
    Branding,
    ClickHouse,
    Data,
    Gateway,
    Hooks,
    Installation,
    Jwt,
    Kafka,
    Operations,
    Tracing,
    Users,
    Verify,
)
from app.config.values import Name, is_loopback
from app.domain.bounds import Bounds
from app.domain.links import Links, Tokens
from schemas.links import SCHEMES

PREFIX = "TOCSIN_"
CONFIG_VARIABLE = "TOCSIN_CONFIG"


class ConfigError(Exception):
    """A setting that can't be used: one line that names the key and never shows the value."""


class _Environment(EnvSettingsSource):
    """pydantic-settings' reading of nested variables, from a given mapping instead of the process's environment."""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        self._given = {name.lower(): value for name, value in environ.items() if value != ""}
        super().__init__(settings_cls)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._given

    def decode_complex_value(self, field_name: str, field: FieldInfo | None, value: Any) -> Any:
        try:
            return json.loads(value)
        except ValueError:
            variable = next(name for name, given in self._given.items() if given == value)
            raise ValueError(f"{variable.upper()}: lists and tables are given as JSON") from None


class Settings(BaseSettings):
    """Everything that can be set; made by ``Settings.load``."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    instance: Name = "1"
    kafka: Kafka = Kafka()
    clickhouse: ClickHouse = ClickHouse()
    data: Data = Data()
    users: Users = Users()
    hooks: Hooks = Hooks()
    installation: Installation = Installation()
    gateway: Gateway = Gateway()
    branding: Branding = Branding()
    verify: Verify = Verify()
    auth: Auth = Auth()
    operations: Operations = Operations()
    tracing: Tracing = Tracing()
    providers: Providers = Providers()

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> "Settings":
        """Settings of the file that TOCSIN_CONFIG names, overridden by TOCSIN_SECTION__KEY variables.

        Raises ConfigError, one line that names the key.
        """
        _refuse_unknown_variables(environ)
        try:
            return cls(**_merge(_read_toml(environ.get(CONFIG_VARIABLE)), _Environment(cls, environ)()))
        except ValidationError as error:
            raise ConfigError(_in_one_line(error)) from None
        except SettingsError as error:
            raise ConfigError(str(error.__cause__ or error)) from None

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what ``load`` passes: making Settings reads nothing by itself."""
        return (init_settings,)

    @model_validator(mode="before")
    @classmethod
    def _embedded_clickhouse_lies_in_data_dir(cls, raw: dict[str, Any]) -> dict[str, Any]:
        section, data = raw.get("clickhouse", {}), raw.get("data", {})
        if isinstance(section, dict) and isinstance(data, dict) and "url" not in section:
            folder = Path(data.get("dir", Data().dir)).absolute() / "clickhouse"
            return {**raw, "clickhouse": {**section, "url": f"chdb://{folder}"}}
        return raw

    @model_validator(mode="after")
    def _bound_keys_can_be_used(self) -> Self:
        bound = [key.id for key in self.auth.api_keys if key.certificates]
        if bound and self.gateway.client_ca_file is None:
            raise ValueError(
                f"auth.api_keys: certificates of {bound[0]} need gateway.client_ca_file: without it none is asked for"
            )
        return self

    @property
    def bounds(self) -> Bounds:
        """What every role is to judge alike: the settings of all must agree here."""
        push = self.providers.webpush
        return Bounds(
            devices=self.users.devices,
            codes=self.verify.per_user,
            link_schemes=SCHEMES.union(self.gateway.link_schemes),
            push_hosts=frozenset(push.allow_hosts) if push is not None else frozenset(),
            traced=None if self.tracing.endpoint is None else self.tracing.sample_ratio,
        )

    @property
    def links(self) -> Links | None:
        """Makes and reads the links that go out with messages; None without ``gateway.public_url`` or signing keys."""
        keys = [key.get_secret_value() for key in self.gateway.signing_keys]
        if self.gateway.public_url is None or not keys:
            return None
        return Links(self.gateway.public_url, Tokens(keys))

    def data_folder(self, role: str) -> Path:
        """The folder that belongs to this instance of a role alone."""
        return self.data.dir / f"{role}-{self.instance}"


def _read_toml(path: str | None) -> dict[str, Any]:
    if not path:
        return {}
    try:
        return tomllib.loads(Path(path).read_text())
    except OSError as error:
        raise ConfigError(f"{CONFIG_VARIABLE}: can't read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{CONFIG_VARIABLE}: {path} is not TOML: {error}") from None


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    for name in environ:
        section, _, key = name.removeprefix(PREFIX).partition("__")
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE:
            continue
        if key and section.lower() not in Settings.model_fields:
            raise ConfigError(f"{name}: unknown section; the sections are {', '.join(sorted(Settings.model_fields))}")
        stem = section.lower().split("_")[0]
        if not key and "_" in section and stem in Settings.model_fields:
            raise ConfigError(f"{name}: unknown; two underscores separate section and key")


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _in_one_line(error: ValidationError) -> str:
    words = {"extra_forbidden": "unknown key", "missing": "required", "string_pattern_mismatch": "malformed"}
    found = []
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        key = ".".join(str(part) for part in problem["loc"]).removesuffix("_")
        message = words.get(problem["type"], problem["msg"].removeprefix("Value error, "))
        found.append(f"{key}: {message[0].lower()}{message[1:]}" if key else message)
    return "; ".join(found)


__all__ = [
    "CONFIG_VARIABLE",
    "ApiKey",
    "Auth",
    "BadCertificate",
    "Branding",
    "ClickHouse",
    "ConfigError",
    "Data",
    "Gateway",
    "Installation",
    "Jwt",
    "Kafka",
    "NoSecret",
    "Operations",
    "ProviderSettings",
    "Providers",
    "Settings",
    "Verify",
    "installation_secret",
    "is_loopback",
    "suppression_keys",
]
