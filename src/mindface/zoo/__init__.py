"""Models by name: their records, the cache, verified downloads and the bundled weights."""
