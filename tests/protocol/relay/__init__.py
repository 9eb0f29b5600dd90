"""Tests of the wire frames."""
