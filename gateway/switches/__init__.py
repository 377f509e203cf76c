"""The gateway's own switches: ordinary flags with reserved keys, by which operators turn parts of it off and on."""
