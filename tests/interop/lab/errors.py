"""Why the lab can't go on."""


class LabError(Exception):
    """The lab could not do what it was asked; the text says what and shows the tool's last words."""
