"""The world that each test kills parts of."""

from ..system.fixtures import template, world

__all__ = ["template", "world"]
