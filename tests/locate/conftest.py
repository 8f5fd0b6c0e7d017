"""Property tests here draw and resize pictures: no time limit an example on a busy machine."""

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
