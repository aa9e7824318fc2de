"""What carries tasks to a queue. The interface is in `base`; real Cloud Tasks and the queue server in `cloudtasks`."""
