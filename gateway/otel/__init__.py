"""OpenTelemetry, for those who ask for it: nothing here is imported otherwise."""
