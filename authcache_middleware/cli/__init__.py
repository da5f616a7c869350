"""The ``authcache`` command."""
