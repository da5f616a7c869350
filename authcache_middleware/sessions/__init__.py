"""Who is logged in, and how that ends."""
