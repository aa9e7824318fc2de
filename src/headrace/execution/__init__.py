"""One attempt of a batch: done before, lease, fence, the work, outcome."""
