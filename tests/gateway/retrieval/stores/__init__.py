"""What stores are told, and what their answers mean."""
