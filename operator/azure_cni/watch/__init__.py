"""Watches of the API server. This is the only package that knows kopf, which is used only to listen."""
