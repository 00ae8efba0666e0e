"""Samples of any depth -> bytes: which range of values becomes 0..255."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from segline.core import params


def _above(high: float, info: ValidationInfo) -> float:
    if (low := info.data.get("low")) is not None and high <= low:
        raise ValueError(f"expected more than low, {low:g}")
    return high


class Full(params.Section):
    """The whole range of the samples' type: 0..65535 of 16 bits."""

    by: Literal["full"]


class Window(params.Section):
    """Two sample values, the same for every band; values beyond them are cut."""

    by: Literal["window"]
    low: float
    high: Annotated[float, AfterValidator(_above)]


class Percentile(params.Section):
    """Two percentiles of the samples of each band over the train split."""

    by: Literal["percentile"]
    low: float = Field(ge=0, lt=100)
    high: Annotated[float, Field(gt=0, le=100), AfterValidator(_above)]


Form = Annotated[Full | Window | Percentile, Field(discriminator="by")]
