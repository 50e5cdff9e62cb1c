"""CalcJobs, each of which runs one sub-command of ``ufpnmr``, and calcfunctions."""
