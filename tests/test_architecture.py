"""The rooms' floors: an import goes down, never up, sideways on the ground, or in a circle."""

import ast
import subprocess
import sys
from pathlib import Path

import sakbench

PACKAGE = Path(sakbench.__file__).parent
# From the top; what stands together on the ground does not know its neighbours.
FLOORS = [
    {"__main__"},
    {"cli"},
    {"report"},
    {"bench"},
    {"experiments"},
    {"runs"},
    {"training", "scoring", "accounting", "generation"},
    {"models"},
    {"tasks"},
]
GROUND = {"data", "metrics", "backbones", "store", "analysis", "plots"}
CELLARS = [{"errors", "cache", "holder"}, {"whole", "plugins"}]
LEVEL = {room: height for height, rooms in enumerate([*CELLARS, GROUND, *reversed(FLOORS)]) for room in rooms}


def imports():
    for file in PACKAGE.rglob("*.py"):
        inside = file.relative_to(PACKAGE)
        room = inside.parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names = [
                    f"{node.module}.{alias.name}" if node.module == "sakbench" else node.module for alias in node.names
                ]
            for name in names:
                parts = name.split(".")
                if parts[0] == "sakbench" and len(parts) > 1 and parts[1] in LEVEL:
                    yield inside, room, parts[1]


def test_imports_go_down():
    upwards = [
        f"{file} imports {target}"
        for file, room, target in imports()
        if room in LEVEL and room != target and LEVEL[target] >= LEVEL[room]
    ]
    assert not upwards


def test_every_room_is_on_a_floor():
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert rooms <= set(LEVEL)


def test_reading_commands_do_not_import_torch():
    code = "import sys\nimport sakbench.report.commands, sakbench.cli\nassert 'torch' not in sys.modules, 'torch'\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_imports_neither_torch_nor_pandas():
    code = (
        "import sys\n"
        "from sakbench.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'pandas', 'numpy', 'sqlalchemy', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout
