"""Tests of pli_client.vault."""
