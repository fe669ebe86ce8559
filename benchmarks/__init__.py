"""Measurements, each with the command that makes it and its raw results."""
