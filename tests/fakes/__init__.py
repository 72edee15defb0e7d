"""Honest stand-ins for what a test cannot have: they obey the rules of the real thing."""
