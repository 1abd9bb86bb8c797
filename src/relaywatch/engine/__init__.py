"""The only sockets and clocks of a check: carries out what scripts ask for, and nothing else.

`Engine` runs scripts, `resolve` asks the DNS, `pace` and `arrivals` keep the times, `vantage` tells
where we look from. None of it judges, and none of it knows permission.
"""
