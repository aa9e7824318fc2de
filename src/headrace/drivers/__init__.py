"""What carries tasks to a queue.

`base` is the interface; `cloudtasks` is real Cloud Tasks and the queue server, `inline` the queue in this process, and
`routing` makes one driver of several.
"""
