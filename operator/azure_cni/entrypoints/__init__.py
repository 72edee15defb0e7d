"""Where everything is wired: commands, settings, the agent, its socket, metrics and logs."""
