"""The one way in which the areas read their settings: ``UNMASK_<AREA>_<NAME>`` in the environment, or keyword arguments."""

import difflib
import os
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.errors import InvalidSettings


class AreaSettings(BaseSettings):
    """Base of an area's settings, which sets ``env_prefix``.

    pydantic-settings passes over variables that it does not know, so that a typo would be a setting that is silently not set:
    here every variable with the area's prefix must name a setting. Numbers are finite.

    Raises:
        InvalidSettings: An unknown name, or a value outside its range.
    """

    model_config = SettingsConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def __init__(self, **given: Any) -> None:
        prefix = self.model_config["env_prefix"].lower()
        names = type(self).model_fields
        for variable in sorted(os.environ):
            name = variable.lower().removeprefix(prefix)
            if variable.lower().startswith(prefix) and name not in names:
                near = difflib.get_close_matches(name, names, n=1) or sorted(names)
                known = ", ".join(f"{prefix}{candidate}".upper() for candidate in near)
                raise InvalidSettings(
                    f"there is no setting {variable}; {'did you mean' if len(near) == 1 else 'there are'} {known}"
                )
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise InvalidSettings("; ".join(_line(part, prefix, given) for part in error.errors())) from error


def _line(part: Any, prefix: str, given: dict[str, Any]) -> str:
    name = str(part["loc"][0]) if part["loc"] else "settings"
    label = name if name in given else f"{prefix}{name}".upper()
    reason = part["msg"][0].lower() + part["msg"][1:]
    return f"{label} is {part['input']!r}: {reason}"
