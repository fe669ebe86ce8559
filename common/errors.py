"""Errors of ``common``; apart from ``common.settings``, which brings pydantic."""


class InvalidSettings(Exception):
    """A setting has a value outside its range, or a name that there is not; the message names both and the remedy."""
