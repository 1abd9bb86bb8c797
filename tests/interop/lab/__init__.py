"""A world of real mail servers and proxies in network namespaces, whose truths are proved without relaywatch.

cases      one folder of tests/interop/servers read into a Case
plan       who lives where: addresses and names
apt        the machine's own Debian sources
roots      a base system and one layer per set of packages, cached
network    namespaces, links, routes
rooms      processes in their own root and namespaces (enter.sh is their first process)
names      the lab's DNS
recorder   the receiving end of the proofs of mail
witness    the receiving end of the proofs of proxies
swaks      one envelope, sent by swaks
carriers   one request, carried to a proxy by curl, ssh and others
proof      what became of the envelopes of a case
reaching   what became of the requests of a case
world      all of it together, brought up and taken down
"""
