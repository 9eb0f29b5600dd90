"""A world for each whole-system test."""

from ..system.fixtures import template, world

__all__ = ["template", "world"]
