"""What OpenFeature's `track` says of the versions that users got: taken off its stream, and made scores."""
