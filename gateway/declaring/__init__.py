"""From a declaration to drafts: what applying a config would write, and what may not be written."""
