"""What benchmarks share: how figures are told, where models are cut, the peers. Measures nothing by itself.

It makes the repository's examples importable, which no package brings.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))
