"""Doubles and tools for tests, of this package and of yours."""
