"""Runs: started by a job, split into batches, relayed to a queue, ended by their rows; and the sweeps that mend."""
