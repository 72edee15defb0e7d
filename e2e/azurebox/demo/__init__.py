"""The demo: a cluster made from nothing, and what azure-cni does in it, shown with the commands that show it.

`tour` leads from chapter to chapter, `workload` has the pods, `addresses`, `traffic`, `features`, `figures` and
`commandline` are what there is to see. For Docker the same are `docker_tour`, `docker_stage`, `docker_network` and
`docker_lifetimes`. `course` plays the chapters, `guide` runs a command and judges what it shows, `paper` is how all
that looks.
"""

from azurebox.demo.docker_tour import run as run_docker
from azurebox.demo.tour import run

__all__ = ["run", "run_docker"]
