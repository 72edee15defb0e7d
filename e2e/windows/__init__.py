"""A Windows node under Wine: real programs for Windows, and a stand-in for HNS behind a library with its interface."""
