"""A world for each whole-system test."""

from ..system.fixtures import template, world
from ..system.old_suite import old_template, old_world

__all__ = ["old_template", "old_world", "template", "world"]
