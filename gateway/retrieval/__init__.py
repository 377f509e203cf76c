"""Retrieval: from the served retriever and index to passages, and whether an index may be pointed to."""
