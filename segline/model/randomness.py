"""Seeds, determinism switches and counter-based draws. The only writer of global random state.

Every draw about data is a pure function of its key, such as (seed, stream, epoch), never of earlier draws: it is the
same for any batch size, number of workers or point of resumption.
"""

import os

import numpy as np
import numpy.typing as npt
import torch
import torch.utils.deterministic as deterministic_mode

ORDER, DROPOUT, AUGMENT, PARTNER, RARE = range(5)  # streams: draws of one are independent of those of another


def generator(*key: int) -> np.random.Generator:
    """A numpy generator that depends only on the key (Philox, a counter-based generator: Salmon et al. 2011)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def permutation(seed: int, epoch: int, count: int) -> npt.NDArray[np.int64]:
    """The order of `count` samples in an epoch."""
    return generator(seed, ORDER, epoch).permutation(count)


def deterministic(seed: int) -> None:
    """From here on torch gives the same bytes for the same machine and seed, or raises.

    On CUDA the switches cover cuDNN and cuBLAS; the workspace setting only works before CUDA is first used.
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.use_deterministic_algorithms(True)
    deterministic_mode.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a debugging aid that costs a pass over memory
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.manual_seed(seed)


def reseed(seed: int, step: int, *shard: int) -> None:
    """From here on dropout masks depend only on (seed, step), or on (seed, step, shard)."""
    state = np.random.SeedSequence((seed, DROPOUT, step, *shard)).generate_state(1, np.uint64)
    torch.manual_seed(int(state[0] >> np.uint64(1)))
