"""The one exception of the engine: a single line that says what to change."""


class CaffeError(RuntimeError):
    """A file, layer or value that cannot be used; the message is one line."""
