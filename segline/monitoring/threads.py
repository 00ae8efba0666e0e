"""How long a thread of torch spins while it waits for the others. `console` imports this file before torch is there.

By default libgomp spins for some milliseconds. On a machine whose cores others use too, two threads of a training then
mostly wait for each other: it takes up to twenty times as long. No output depends on it.
"""

import os

# Short enough to leave the core to another program, long enough for what threads wait on an idle machine.
SPINS = "10000"

if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = SPINS
