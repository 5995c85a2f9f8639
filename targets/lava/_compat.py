"""Make lava-nc 0.10.0 run on Python >= 3.11 and NumPy 2. Needs nothing but lava-nc: a built folder carries a copy.

lava-nc is archived and its metadata admits Python 3.10 and NumPy 1 only, but two places alone stand in the way of newer
versions. `lava/magma/compiler/var_model.py` declares dataclass fields whose default is an instance of another,
unhashable dataclass, which Python >= 3.11 refuses as mutable: here that module's source is executed with hashable
dataclasses. And a port that reshapes calls `np.reshape` by a keyword that NumPy >= 2.4 has no more: here it calls the
array's own method. Nothing in site-packages is touched. Lava forks its processes, so they inherit both.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import sys
from functools import partial
from typing import Any

LAVA_VERSION = "0.10.0"
INSTALL = f"pip install --no-deps --ignore-requires-python lava-nc=={LAVA_VERSION}"
REPAIRED = "lava.magma.compiler.var_model"


class LavaUnavailableError(ImportError):
    """lava-nc is missing, or its version is not the one that is known to work."""

    def __init__(self, what: str) -> None:
        self.what, self.remedy = what, f"install it with `{INSTALL}`"
        super().__init__(f"lava-nc: {self.what}; {self.remedy}")


def check_version() -> None:
    """Raise `LavaUnavailableError` unless lava-nc 0.10.0 is installed."""
    try:
        version = importlib.metadata.version("lava-nc")
    except importlib.metadata.PackageNotFoundError:
        raise LavaUnavailableError(f"is not installed, version {LAVA_VERSION} is needed") from None
    if version != LAVA_VERSION:
        raise LavaUnavailableError(f"version {version} is installed, but {LAVA_VERSION} is needed")


class _HashableDataclasses(ast.NodeTransformer):
    """Turn each `@dataclass` into `@dataclass(unsafe_hash=True)`."""

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        for i, decorator in enumerate(node.decorator_list):
            if isinstance(decorator, ast.Name) and decorator.id == "dataclass":
                hashable = ast.keyword(arg="unsafe_hash", value=ast.Constant(True))
                node.decorator_list[i] = ast.Call(func=decorator, args=[], keywords=[hashable])
        return node


def make_importable() -> None:
    """Repair what newer versions of Python and NumPy refuse; call before any other import of lava.

    Raises
    ------
    LavaUnavailableError
        lava-nc is missing or has another version.
    """
    check_version()
    if REPAIRED in sys.modules:
        return
    spec = importlib.util.find_spec(REPAIRED)
    if spec is None or spec.origin is None:
        raise LavaUnavailableError(f"is damaged: the module {REPAIRED} is missing")
    with open(spec.origin, encoding="utf-8") as file:  # noqa: PTH123 (nothing but the source is wanted)
        tree = ast.fix_missing_locations(_HashableDataclasses().visit(ast.parse(file.read())))
    module = importlib.util.module_from_spec(spec)
    sys.modules[REPAIRED] = module
    try:
        exec(compile(tree, spec.origin, "exec"), module.__dict__)  # noqa: S102 (lava's own source)
    except BaseException:
        del sys.modules[REPAIRED]
        raise
    parent, _, name = REPAIRED.rpartition(".")
    setattr(importlib.import_module(parent), name, module)
    port = importlib.import_module("lava.magma.core.process.ports.ports").ReshapePort
    port.get_transform_func_fwd = lambda self: partial(_reshaped, shape=self.shape)
    port.get_transform_func_bwd = lambda self: partial(_reshaped, shape=self.old_shape)


def _reshaped(data: Any, shape: tuple[int, ...]) -> Any:
    return data.reshape(shape)
