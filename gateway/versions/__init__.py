"""The life of versions as operators see and move it: their records, what may be said of them, and how two differ."""
