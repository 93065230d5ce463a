"""Check scripts and style sheets with Biome, by biome.json: tools/book/lint_javascript.py

Biome is one program, fetched once for this machine (35 MB) into tools/vendor/; node is not needed.
Arguments are passed on to `biome check`: --write formats, and mends what can be mended safely.
"""

import platform
import subprocess
import sys
from pathlib import Path

from npm import REGISTRY, Archive, provide

FOLDER = Path(__file__).resolve().parents[1] / "vendor"
VERSION = "2.6.8"
HASHES = {  # sha512 of the packages @biomejs/cli-…, by system and processor
    "linux-x64": (
        "XIk3pLQT56I6Tti+u0DF8FtSNXjCMTPbxVTzfJ9cS2t1ImVKvrqV5b52GuEaJg6/wuiXvz0sjfb5saB4TPRjzA=="
    ),
    "linux-arm64": (
        "0Bjim8lKwnrvXUHoI4k3Tb51BjoiLEwDnovCI8nSzkk6wj3dShiuAjrx6+X0Hjf4ejR1sRZgTQiSDHlpy9vB7w=="
    ),
    "darwin-x64": (
        "QWWUPjlA0RnkkgYnFLUHZu+RrDc0FdK0A+wEPA+dENQJwsuSHMH89lspnAw2QUWWc9VHyfluGx1Xmp6Y2GZi8Q=="
    ),
    "darwin-arm64": (
        "DHyj+JnRHcn4YdvpiqgTFZMYKSPELMCfFpNNlEuu1L8DKTGXhzW7raIwdsbo2Ie9nCljQLAQkVWQk/mwM0ueiA=="
    ),
}
PROCESSORS = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64", "arm64": "arm64"}


def biome() -> Path:
    """The program, fetched if it is not there.

    Raises OSError without a network, and ValueError on a machine for which there is none.
    """
    processor = platform.machine()
    machine = f"{platform.system().lower()}-{PROCESSORS.get(processor, processor)}"
    if machine not in HASHES:
        raise ValueError(f"no Biome is pinned for {machine}, only for {', '.join(HASHES)}")
    program = Archive(f"@biomejs/cli-{machine}", VERSION, HASHES[machine], (("package/biome", ""),))
    provide(FOLDER, [program])
    return FOLDER / "biome"


def main() -> None:
    try:
        program = biome()
    except (OSError, ValueError) as error:
        sys.exit(
            f"lint_javascript: {error}\n"
            f"Biome is fetched once (35 MB) from {REGISTRY}. Connect and run this again,\n"
            "set NPM_CONFIG_REGISTRY to a mirror, or copy tools/vendor/ from a similar machine."
        )
    command = [program, "check", "--error-on-warnings", *sys.argv[1:]]
    sys.exit(subprocess.run(command, check=False).returncode)


if __name__ == "__main__":
    main()
