"""Tests of sentinel.storage."""
