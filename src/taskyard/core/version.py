"""The version of this package; where it is not installed as one, that of the source."""

VERSION = "0.1.0"
