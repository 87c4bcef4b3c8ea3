"""`python -m hizala`, and what `torchrun -m hizala` starts."""

import os
import sys

from hizala.cli.main import main

if int(os.environ.get("WORLD_SIZE", "1")) > 1:
    from hizala.engines.train import leave

    leave(main())
sys.exit(main())
