"""The reference of the Python side as web pages, made from the docstrings: ``python -m toybed.reference DIR``.

It is made by pdoc (extra ``docs``). Whatever it warns of is an error: a docstring that it cannot read, a type that it
cannot find.
"""

from __future__ import annotations

import sys
import typing
import warnings
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType

import toybed
from toybed.errors import ToybedError

WITHOUT = ("toybed.benchmarks", "toybed.course", "toybed.examples")
"""What is read as text: questions, lessons and examples."""


def build(folder: Path) -> None:
    """Write the pages into a folder, which is made if missing; ``index.html`` is the first.

    Raises:
        ToybedError: pdoc is not installed, or has something to warn of.
    """
    try:
        import pdoc
        import pdoc.render
    except ModuleNotFoundError as error:
        raise ToybedError('the reference is made by pdoc: pip install "toybed[docs]"') from error
    for module in (toybed, *modules()):
        _resolve(module)
    pdoc.render.configure(docformat="google", show_source=False, math=True, footer_text=f"toybed {toybed.__version__}")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        # Hypothesis writes what its decorated functions return as a name that nobody can find.
        warnings.filterwarnings("ignore", message=".*hypothesis.strategies.SearchStrategy")
        # Before Python 3.12 an array cannot be told its type, and so the annotation says it to type checkers alone.
        warnings.filterwarnings("ignore", message=".*'array.array' is not subscriptable")
        # One by one: of a package with __all__ pdoc would leave out the modules that are not in it. Of others it knows.
        warnings.filterwarnings("ignore", message="The module specification .* already been added")
        pdoc.pdoc("toybed", *(module.__name__ for module in modules()), output_directory=folder)
    if said:
        raise ToybedError(f"pdoc warns of {len(said)} things, of which the first is: {said[0].message}")


def modules() -> list[ModuleType]:
    """Those that the reference is about."""
    names = [info.name for info in walk_packages(toybed.__path__, "toybed.") if not info.name.startswith(WITHOUT)]
    return [import_module(name) for name in names]


def _resolve(module: ModuleType) -> None:
    """Load what the module loads when it is first used, and give named tuples types in the place of their names.

    Python leaves these in ``__new__``, where pdoc cannot find what they name.
    """
    for name in getattr(module, "__all__", ()):
        setattr(module, name, getattr(module, name))
    for thing in list(vars(module).values()):
        if isinstance(thing, type) and issubclass(thing, tuple) and thing.__module__ == module.__name__:
            thing.__new__.__annotations__ = typing.get_type_hints(thing)


def main() -> int:
    """Build into the folder that is named."""
    if len(sys.argv) != 2:
        print("usage: python -m toybed.reference DIR", file=sys.stderr)
        return 2
    try:
        build(Path(sys.argv[1]))
    except ToybedError as error:
        print(f"toybed: {error}", file=sys.stderr)
        return 2
    print(f"reference: {sys.argv[1]}/index.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
