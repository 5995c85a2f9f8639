"""SSTDP: networks of neurons that fire at most once, and rules that learn when (Liu et al., Front. Neurosci. 2021)."""
