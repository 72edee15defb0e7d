"""The formats of the Container Network Interface: configuration, results per version, wire messages. Pure."""
