"""Tests of unmask/."""
