"""A stand-in for HNS, the Windows service that networks containers. It shares no code with the product."""
