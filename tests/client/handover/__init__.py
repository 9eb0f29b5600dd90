"""Tests of pli_client.handover."""
