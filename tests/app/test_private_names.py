"""The code uses no private names of uvicorn and Pillow, which may change in any release."""

import ast
import inspect
import pydoc
import re
from typing import cast

import pytest

from tests.support.running import ROOT

# Names with an underscore, and what the libraries do not document: uvicorn's own protocols and supervisors, and the C
# module of Pillow and the images in it.
PRIVATE = re.compile(
    r"(uvicorn|PIL)\.(.*\.)?_.*|uvicorn\.(lifespan|loops|protocols|supervisors)(\..*)?|PIL\.Image\.core(\..*)?"
    r"|.*\.im"
)


def find_private_names(source: str) -> set[str]:
    """Return the private names in a source that imports uvicorn or Pillow: what it imports, what it uses of that,
    attributes with an underscore that it does not define itself, and what it defines in place of a private name of a
    class that it extends."""
    tree = ast.parse(source)
    imported: dict[str, str] = {}  # maps the name in this file to the full name
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {name.asname or name.name: name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
    if not any(re.match(r"(uvicorn|PIL)\b", name) for name in imported.values()):
        return set()

    def full_name(node: ast.expr) -> str:
        first, dot, rest = ast.unparse(node).partition(".")
        return imported.get(first, first) + dot + rest

    used, own, extended = set(imported.values()), set[str](), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for name in map(full_name, node.bases):
                if re.match(r"(uvicorn|PIL)\.", name):
                    source = inspect.getsource(cast(type, pydoc.locate(name)))
                    extended |= set(re.findall(r"\b_[a-z]\w*", source))
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            own.add(node.attr)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            own.add(node.name)
        elif isinstance(node, ast.Attribute):
            used.add(full_name(node))
            if re.match(r"_[^_]", node.attr):
                used.add(f"uvicorn.{node.attr}")
    used |= {f"uvicorn.{name}" for name in own & extended}
    own -= extended
    return {name for name in used if PRIVATE.fullmatch(name) and name.removeprefix("uvicorn.") not in own}


def test_the_source_uses_no_private_names() -> None:
    """No file in app/ does."""
    uses = {
        (path.relative_to(ROOT / "app").as_posix(), name)
        for path in (ROOT / "app").rglob("*.py")
        for name in find_private_names(path.read_text())
    }
    assert uses == set()


@pytest.mark.parametrize(
    "source",
    [
        "from PIL import Image\nImage.core.new('L', (1, 1))",
        "from PIL.Image import core",
        "import PIL.Image\nPIL.Image.core",
        "from PIL import _imaging",
        "import PIL._imaging as c",
        "from PIL import Image\ndef f(image: Image.Image):\n    return image.im",
        "from PIL import Image\ndef f(image: Image.Image):\n    return image._exif",
        "import uvicorn\nclass A(uvicorn.Server):\n    def f(self):\n        return self._captured_signals",
        "import uvicorn\nclass A(uvicorn.Server):\n    async def _serve(self, sockets):\n        pass",
        "from uvicorn import Server as S\nclass A(S):\n    def f(self):\n        self._captured_signals = []",
        "import uvicorn\nuvicorn.protocols.http",
        "from uvicorn.supervisors import Multiprocess",
    ],
)
def test_a_private_name_is_found(source: str) -> None:
    """It is found however it is imported, as an attribute of an object, and where a class of ours replaces it."""
    assert find_private_names(source)


def test_public_and_own_names_are_not_reported() -> None:
    """What the libraries document, what a class defines itself, and private names of other packages are fine."""
    assert not find_private_names("from PIL import Image, features\nImage.open(f).info, features.modules['pil']")
    assert not find_private_names(
        "import uvicorn\nclass A(uvicorn.Server):\n    def f(self):\n        self._x = self.__class__\n        self._x"
    )
    assert not find_private_names("import prometheus_client\nx._sum")
