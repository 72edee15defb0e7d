"""The command line for people: it reads the API server, and asks agents through it. The only place with a client's
libraries, `kubernetes` and `rich`, which no agent and no controller loads.
"""
