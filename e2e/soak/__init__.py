"""`make soak`: pods come and go on the box for as long as it is asked for, while one fault after the other happens.

`plan` draws from a seed what happens when, `faults` is the list of what can happen, `pod_log`, `log_lines` and
`verdict` hold the rules by which a run is judged, and `run` brings them together.
"""
