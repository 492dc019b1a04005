"""Many conversions: which, what became of each, and what is left to do."""
