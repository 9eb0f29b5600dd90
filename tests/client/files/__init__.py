"""Tests of pli_client.files."""
