"""The cache-aside flow: flights, leases, loads, and what is decided when they meet."""
