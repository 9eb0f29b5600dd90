"""Tests of pli_client.connection."""
