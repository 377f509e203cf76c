"""App keys and operators' tokens that were made while the gateway runs."""
