"""What takes long to import is imported late, so that the command line answers at once."""

import subprocess
import sys

import pytest

HEAVY = ["aioquic.quic", "aioquic.h3", "pylsqpack", "aioice"]


@pytest.mark.parametrize("module", HEAVY)
def test_finding_the_probes_imports_none_of_them(module):
    program = (
        "import sys; from relaywatch.script.probe import load_probes; assert load_probes();"
        f"print({module!r} in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "False\n" == said.stdout
