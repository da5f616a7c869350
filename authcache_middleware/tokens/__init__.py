"""From the text of a token to its claims."""
