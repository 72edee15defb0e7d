"""The demo: a cluster made from nothing, and what azure-cni does in it, shown with the commands that show it.

`tour` leads from chapter to chapter, `workload` has the pods, `addresses`, `traffic`, `features`, `figures` and
`commandline` are what there is to see, `guide` runs a command and judges what it shows, `paper` is how all that looks.
"""

from azurebox.demo.tour import run

__all__ = ["run"]
