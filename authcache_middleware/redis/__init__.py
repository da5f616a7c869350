"""The store over redis-py: the only place that imports it."""
