"""Batches: one operation over many items."""
