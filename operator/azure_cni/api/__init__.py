"""The custom resources as types: what a pool, a quota and an operation say, read tolerantly and written. Pure."""
