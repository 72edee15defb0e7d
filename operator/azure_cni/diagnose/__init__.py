"""What is wrong, why, and what to do about it: decided from objects of the API server and agents' answers. Pure."""
