"""ASGI and WSGI authentication middleware: bearer tokens to known users, through Redis."""
