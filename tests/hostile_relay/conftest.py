"""The world into which a hostile member or relay comes."""

from ..system.fixtures import template, world

__all__ = ["template", "world"]
