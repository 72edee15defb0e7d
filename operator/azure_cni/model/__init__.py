"""What the product speaks of, whoever reads or writes it: a NIC, a machine, points in time, text in messages. Pure."""
