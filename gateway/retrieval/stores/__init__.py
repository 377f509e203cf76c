"""What is said to a store, and what its answers mean: `vector_stores` in OpenAI's words, `qdrant` in its own. All pure."""
