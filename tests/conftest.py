"""Hypothesis draws the same examples in every default run, so that a red run is the change's own doing.

`make test-slow` explores further: profile "explore" draws afresh.
"""

from hypothesis import settings

settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile("steady")
