"""Tests of pli_client.i18n."""
