"""Fetch scripts by others: those that the book serves itself, and those that its tests use.

assets/vendor/ lands beside the pages, so that they ask no third party; tests/browser/vendor/ does
not. A complete folder is left alone, and each appears whole or not at all.
"""

import sys
from pathlib import Path

from npm import REGISTRY, Archive, provide

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "assets" / "vendor"
TESTS = ROOT / "tests" / "browser" / "vendor"

MATHJAX = Archive(
    "mathjax",
    "3.2.2",
    "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
    (
        ("package/LICENSE", "mathjax"),
        ("package/es5/tex-mml-chtml.js", "mathjax"),
        ("package/es5/output/chtml/fonts/woff-v2/*.woff", "mathjax/output/chtml/fonts/woff-v2"),
    ),
)
AXE = Archive(
    "axe-core",
    "4.14.1",
    "FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==",
    (("package/LICENSE", ""), ("package/axe.min.js", "")),
)


def main() -> None:
    try:
        provide(BOOK, [MATHJAX])
        provide(TESTS, [AXE])
    except (OSError, ValueError) as error:
        sys.exit(
            f"fetch_assets: {error}\n"
            f"The book serves its own scripts and fetches them once (7 MB) from {REGISTRY}.\n"
            "Connect and run this again, set NPM_CONFIG_REGISTRY to a mirror, or copy\n"
            "assets/vendor/ and tests/browser/vendor/ from a machine that has them."
        )


if __name__ == "__main__":
    main()
