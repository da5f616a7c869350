"""The request's side: where a token may stand, how a refusal is answered, which paths are exempt."""
