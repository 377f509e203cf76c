"""What is looked for in a provider's answers on their way through: content, usage, ends and errors."""
