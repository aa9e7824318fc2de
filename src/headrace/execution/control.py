"""What ends a handler's call from inside a method of its batch; no Exception, so that no author catches it."""


class Interruption(BaseException):
    """Root of what follows."""


class ContinueLater(Interruption):
    """What is left of the batch goes on as the next task."""


class InDoubt(Interruption):
    """An effect was begun, and nobody knows whether it happened; a person decides."""
