"""Emulate what of Windows can be had on Linux, in every process with this folder in its path.

The packages' own modules are compiled as if the system were Windows: `sys.platform` is "win32", `os.name` is
"nt", there is nothing relative to open folders, and modules that only Unix has cannot be imported. The system
calls that Windows answers differently do so: a rename never replaces, a file that this process has open is
neither renamed, replaced nor removed, and event loops handle no signals. What Windows itself would answer in
all other cases is not known here; only a Windows runner tells.
"""

import ast
import asyncio
import errno
import hashlib
import importlib.abc
import marshal
import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import NoReturn

PACKAGES = ("vllm_omni_client", "vllm_image_core", "vllm_image_mcp")
VALUES = {("sys", "platform"): "win32", ("os", "name"): "nt"}
MISSING = frozenset({"O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK", "O_CLOEXEC", "geteuid", "getuid"})
CACHE = Path(__file__).parent / "__pycache__"
VERSION = Path(__file__).read_bytes()
UNIX_MODULES = frozenset({"fcntl", "pwd", "resource", "uvloop"})


class _AsOnWindows(ast.NodeTransformer):
    """Replaces what a module asks about its system by what Windows answers."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if not isinstance(node.value, ast.Name):
            return self.generic_visit(node)
        name = (node.value.id, node.attr)
        if name == ("os", "supports_dir_fd"):
            return ast.copy_location(ast.Call(ast.Name("frozenset", ast.Load()), [], []), node)
        return ast.copy_location(ast.Constant(VALUES[name]), node) if name in VALUES else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        is_lookup = ast.unparse(node.func) == "getattr" and ast.unparse(node.args[0]) == "os"
        if is_lookup and ast.literal_eval(node.args[1]) in MISSING:
            return node.args[2]
        return self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> ast.AST:
        return _refusal(node) if node.names[0].name in UNIX_MODULES else node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return _refusal(node) if node.module in UNIX_MODULES else node


def _refusal(node: ast.AST) -> ast.AST:
    return ast.copy_location(ast.parse("raise ModuleNotFoundError('only Unix has it')").body[0], node)


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        source = self.get_data(path)
        key = hashlib.sha256(b"\0".join((path.encode(), source, VERSION, sys.version.encode()))).hexdigest()
        compiled = CACHE / f"{key}.windows"
        try:
            return marshal.loads(compiled.read_bytes())  # noqa: S302 - written below
        except (OSError, ValueError, EOFError):
            tree = ast.fix_missing_locations(_AsOnWindows().visit(ast.parse(source)))
            code = compile(tree, path, "exec", dont_inherit=True)
            CACHE.mkdir(exist_ok=True)
            compiled.write_bytes(marshal.dumps(code))
            return code


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in PACKAGES:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def _is_open(path: Path) -> bool:
    """Whether this process has a file open, or one below a folder."""
    real = path.resolve()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = descriptor.readlink()
        except OSError:
            continue
        if target == real or (target.is_relative_to(real) and target.is_file()):
            return True
    return False


def _refuse_if_open(*paths: Path) -> None:
    for path in paths:
        if _is_open(path):
            raise PermissionError(errno.EACCES, "The file is being used by another process", str(path))


def _patch_calls() -> None:
    link, rename, replace, unlink, remove = os.link, os.rename, os.replace, os.unlink, os.remove

    def rename_if_free(source: str, target: str, **options: int | None) -> None:
        _refuse_if_open(Path(source))
        if not Path(source).is_dir():
            link(source, target, follow_symlinks=False)  # in one step, and never in the place of another
            unlink(source)
        elif os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "The file already exists", str(source))
        else:
            rename(source, target, **options)

    def replace_if_closed(source: str, target: str, **options: int | None) -> None:
        _refuse_if_open(Path(source), Path(target))
        replace(source, target, **options)

    def if_closed(call: Callable[..., None]) -> Callable[..., None]:
        def remove_if_closed(path: str, **options: int | None) -> None:
            folder = options.get("dir_fd")
            _refuse_if_open(Path("" if folder is None else f"/proc/self/fd/{folder}", path))
            call(path, **options)

        return remove_if_closed

    for name, patched in (
        ("rename", rename_if_free),
        ("replace", replace_if_closed),
        ("unlink", if_closed(unlink)),
        ("remove", if_closed(remove)),
    ):
        setattr(os, name, patched)


def _no_handlers(*_: object) -> NoReturn:
    raise NotImplementedError


def emulate() -> None:
    """Emulate Windows in this process; its packages must not have been imported yet."""
    found = [each for each in sys.meta_path if isinstance(each, _Finder)]
    if found:  # others, such as pytest's, may have come before it
        sys.meta_path.remove(found[0])
        sys.meta_path.insert(0, found[0])
        return
    sys.meta_path.insert(0, _Finder())
    _patch_calls()
    setattr(asyncio.SelectorEventLoop, "add_signal_handler", _no_handlers)  # noqa: B010 - typed otherwise
