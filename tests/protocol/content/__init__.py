"""Tests of message content."""
