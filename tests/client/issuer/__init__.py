"""Tests of the establishment's administration and of enrolment."""
