"""`python -m azure_cni` is the same as the `azure-cni` command."""

from azure_cni.entrypoints.cli import main

if __name__ == "__main__":
    main(prog_name="azure-cni")
