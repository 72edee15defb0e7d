"""The fabric: what an Azure virtual network does with a frame, from the NICs as the fake ARM holds them.

One network namespace stands for the fabric, one for each VM and for each place beyond (a peered network, an on-prem
site, the internet). A VM's cable ends in the fabric, and what happens there is decided by two nftables tables alone:
`netdev virtual_network` carries VNet traffic from cable to cable by one look-up of the destination address, as the real
switch of a host does (so no hop shows, and no flow outlives its address), and `ip beyond` holds what leaves the VNet:
IMDS, wireserver and DNS, ARM, the translation towards the internet and back, and flows of load balancers. Python writes
these tables and touches no packet.

`topology` says which places exist, `plan` turns an EffectiveNetwork into cables and views (pure) with the ways out of
`outbound`, the members of `balancer`, the `filters` of security groups and the `routes`; `ruleset`, `beyond`,
`balancerules` and `fragments` write the plan as nftables text (pure), `kernel` carries it out, `servers` runs what
answers at the far ends, `prober` finds out which members of load balancers are up, `appliance` makes a VM forward, and
`Fabric` ties all of them.

With an IPv6 address on a NIC come `ipv6`, its rules (pure), `dual`, which carries out what they need, and `router`,
which is whom VMs hear of as their way.

Not there, and left out knowingly: security groups, routes, load balancers and ways out of IPv6, DHCP, and DNS over tcp
at 168.63.129.16 (the ports are open, but nobody listens unless the box does).
"""

from azurebox.fabric.fabric import Fabric

__all__ = ["Fabric"]
