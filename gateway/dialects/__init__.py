"""Our own words in the languages of OpenAI and Anthropic: error bodies, events and headers."""
