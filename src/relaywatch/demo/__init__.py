"""A loopback world of small mail servers, open, closed and deceiving, and the check that is run over it.

The servers know nothing of cases, probes or verdicts: each has a policy, as a real server has a
configuration, and delivers by SMTP to the next hop that it is given. What each should be found as
stands apart, in `relaywatch.demo.expectations`.
"""
