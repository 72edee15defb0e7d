"""Fakes of the ports: each obeys the rules of the real thing, and a contract test runs on both."""
