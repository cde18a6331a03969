"""Why a stage ends early, where that is not a defect: what decides whether another attempt is worth anything."""


class UserError(ValueError):
    """A mistake in the config, the data or the model, which no attempt can mend: its message is all a person needs.

    A ValueError that is none of these comes from a library, and says nothing about whose mistake it is.
    """


class Damaged(RuntimeError):
    """What an earlier stage left is gone, or is not what its manifest promises: nobody's mistake."""
