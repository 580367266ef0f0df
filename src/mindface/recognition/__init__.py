"""Turning faces into embeddings, and comparing them."""
