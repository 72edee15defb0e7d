"""The fabric: what an Azure virtual network does with a frame, from the NICs as the fake ARM holds them.

One network namespace stands for the fabric, one for each VM and for each place beyond (a peered network, an on-prem
site, the internet). A VM's cable ends in the fabric, and what happens there is decided by two nftables tables alone:
`netdev virtual_network` carries VNet traffic from cable to cable by one look-up of the destination address, as the real
switch of a host does (so no hop shows, and no flow outlives its address), and `ip beyond` holds what leaves the VNet:
IMDS, wireserver and DNS, ARM, and the 1:1 NAT towards the internet. Python writes these tables and touches no packet.

`topology` says which places exist, `plan` turns an EffectiveNetwork into cables and views (pure), `ruleset` writes the
plan as nftables text (pure), `kernel` carries it out, `servers` runs what answers at the far ends, `Fabric` ties them.

Not there, and left out knowingly:
- load balancers and service endpoints: an EffectiveNetwork knows pool membership, not front ends, rules or endpoint
  subnets. A probe from 168.63.129.16 does reach any effective address and its answer does come back;
- network security groups and route tables. Instead: everything within and between peered VNets is allowed, and nothing
  from the internet comes in unasked (the default rules of Azure);
- routes *to* a NIC with IP forwarding (user-defined routes): such a NIC may send from any address, and no more;
- IPv6, DHCP and DNS over tcp at 168.63.129.16 (the ports are open, but nobody listens unless the box does).
"""

from azurebox.fabric.fabric import Fabric

__all__ = ["Fabric"]
