"""Tests of sentinel.stream."""
