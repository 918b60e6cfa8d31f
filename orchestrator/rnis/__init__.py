"""A client of the Radio Network Information Service, ETSI GS MEC 012 v2.2.1: what the radio network sees of a link.

It is one source of link observations among several (orchestrator/network.py), and never a condition for anything:
where the service is gone, slow or speaks nonsense, deployments go on with what streams and probes see.
"""
