"""Tests of pli_server.doctor."""
