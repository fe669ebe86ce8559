"""Tests, in folders that mirror the areas. They start the real embedded Triton on free ports."""
