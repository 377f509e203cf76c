"""OFREP's doors: flags evaluated for whoever asks by HTTP, and streams that tell of changes. No rule of flags is here."""
