"""What ends a run before its questions are asked, or between two of them."""


class OnAzureError(Exception):
    """Says what could not be done, why, and what to do; `str` of it is for a person."""


class NotAnsweredError(Exception):
    """A question could not be asked, because something before it went otherwise than it should."""
