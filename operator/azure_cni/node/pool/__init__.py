"""The pool of one node: what Azure has, what the node should have, one step at a time, and the status that says so."""
