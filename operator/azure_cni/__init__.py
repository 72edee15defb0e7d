"""azure-cni: virtual network addresses of Azure for every pod."""

__version__ = "0.1.0"
