"""The log: what is to be told to whoever uses a part, where nothing is returned that could say it."""

from __future__ import annotations

import logging

LOG = logging.getLogger("spikegraph")
