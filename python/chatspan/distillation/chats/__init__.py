"""Conversations → encoded chats: with provenance, or by prefix delta where a tokenizer gives no offsets."""
