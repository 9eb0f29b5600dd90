"""Tests of identity: certificates, chains, statements, invitations."""
