"""Ready-made loaders."""
