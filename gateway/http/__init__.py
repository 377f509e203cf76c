"""The endpoints. chat: completions for apps; models, health: who is there; admin and events: the operators' side."""
