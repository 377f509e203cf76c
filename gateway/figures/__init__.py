"""What the fleet has measured, for people and for Prometheus. Read only: nothing here judges."""
