"""`python -m hizala`, and what `torchrun -m hizala` starts."""

import sys

from hizala.cli.main import main

sys.exit(main())
