"""Virtual environments of the peers, made once for exactly these requirements."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from scripts.support.processes import ROOT

PEERS = ROOT / ".cache" / "peers"


def environment(name: str, *requirements: str) -> Path:
    """The folder of ``name``'s programs (its ``bin``); made or renewed when the requirements changed."""
    folder = PEERS / name
    stamp = folder / ".requirements"
    wanted = "\n".join([*requirements, f"python {sys.version_info[0]}.{sys.version_info[1]}"])
    if not (stamp.exists() and stamp.read_text() == wanted):
        print(f"== installing {', '.join(requirements)} into {folder}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *requirements]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        stamp.write_text(wanted)
    return folder / "bin"
