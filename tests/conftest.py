"""Hypothesis draws the same examples in every default run, so that a red run is the change's own doing.

`make test-slow` explores further: profile "explore" draws afresh.
"""

from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

# Hypothesis also draws constants that it finds in whatever modules are loaded. Without them its examples do not depend
# on which other tests run, nor on a number that is changed anywhere.
providers._get_local_constants = providers.Constants

slow_machine = [HealthCheck.too_slow]
settings.register_profile("steady", derandomize=True, deadline=None, suppress_health_check=slow_machine)
settings.register_profile("explore", deadline=None, suppress_health_check=slow_machine)
settings.load_profile("steady")
