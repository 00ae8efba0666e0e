"""Batches of images and masks moved, recoloured and pasted on the device, in integers only.

A result therefore has the same bytes on every device, for any number of threads and whatever else is in the batch. n
images of C channels, from H x W to h x w pixels. A place y, x is that of a pixel's centre; fixed-point numbers have
`BITS` fractional bits.
"""

import torch
from torch import Tensor

BITS = 20
ONE = 1 << BITS
GREY = 128
# Places have 8 fractional bits: 1/256 of a pixel.
FINE = 8
# The weights of R, G and B in the luma of ITU-R BT.601, times 1024.
LUMA = (306, 601, 117)
# Standard deviation of the sum of four random bytes; each has the variance (256^2 - 1) / 12.
FOUR_BYTES = ((256**2 - 1) / 3) ** 0.5
WORD = (1 << 32) - 1


def places(affine: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Where each pixel (y, x) of h x w comes from, in 1/256 pixels: two int32 (n, h, w).

    `affine` is int64 (n, 2, 3), fixed-point: the source row is affine[0] . (y, x, 1), the column affine[1] . (y, x, 1).
    """
    y = torch.arange(height, device=affine.device).view(-1, 1)
    x = torch.arange(width, device=affine.device).view(1, -1)
    half = 1 << (BITS - FINE - 1)
    by_y, by_x, start = affine[..., None, None].unbind(dim=2)
    rows, columns = ((by_y * y + (by_x * x + (start + half))) >> (BITS - FINE)).int().unbind(dim=1)
    return rows, columns


def moved(images: Tensor, packed: Tensor, affine: Tensor, size: tuple[int, int]) -> tuple[Tensor, ...]:
    """Images and masks moved by `affine`, and which of their pixels come from outside: bool (n, h, w).

    uint8 (n, H, W, C) images are interpolated bilinearly; uint8 (n, H, W, P) packed masks take the nearest pixel, void
    from outside.
    """
    count, height, width, _ = images.shape
    y, x = places(affine, *size)
    first = (torch.arange(count, device=images.device) * (height * width)).view(-1, 1, 1)

    def index(row: Tensor, column: Tensor) -> Tensor:
        return first + row.clamp(0, height - 1) * width + column.clamp(0, width - 1)

    nearest_y, nearest_x = (y + 128) >> FINE, (x + 128) >> FINE
    outside = (nearest_y < 0) | (nearest_y >= height) | (nearest_x < 0) | (nearest_x >= width)
    mask = packed.flatten(0, 2)[index(nearest_y, nearest_x)].masked_fill_(outside[..., None], 0)

    pixels = images.flatten(0, 2)
    top, left = y >> FINE, x >> FINE
    down, right = (y & 255)[..., None], (x & 255)[..., None]
    upper, lower = (
        pixels[index(row, left)] * (256 - right) + pixels[index(row, left + 1)] * right for row in (top, top + 1)
    )
    return ((upper * (256 - down) + lower * down + (1 << 15)) >> 16).byte(), mask, outside


def recoloured(images: Tensor, colours: Tensor, noise: Tensor | int) -> Tensor:
    """own * pixel + luma * (luma of the pixel) + offset + noise, rounded and clamped: uint8 (n, h, w, C).

    `colours` is int64 (n, 3): own, luma and offset; `noise` is added to each value; both are fixed-point. Exact if own
    is at most 4, luma at most 2, and offset and noise at most 512.
    """
    own, luma, offset = colours.int().view(-1, 3, 1, 1, 1).unbind(dim=1)
    total = images * own
    total += noise
    total += offset + ONE // 2
    total += _luma(images) * (luma >> 10)
    return (total >> BITS).clamp_(0, 255).byte()


def _luma(images: Tensor) -> Tensor:
    """1024 times the luma of each pixel: int32 (n, h, w, 1). With other than three channels there is no luma, and each
    channel has its own value in its place, (n, h, w, C): a weight of luma then acts as one of the pixel.
    """
    if images.shape[-1] != 3:
        return images.int() << 10
    red, green, blue = images.int().unbind(dim=-1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[..., None]


def noise(keys: Tensor, shape: tuple[int, ...], amplitude: int) -> Tensor:
    """Nearly normal numbers, a function of key, pixel and channel: int32 (n, h, w, C), fixed-point.

    `keys` is int64 (n,) of 32 bits; `amplitude` is the standard deviation over that of four bytes, fixed-point.
    """
    count = shape[0] * shape[1] * shape[2]
    values = _mixed(_mixed(torch.arange(count, device=keys.device)) + keys[:, None])
    pairs = (values & 0x00FF00FF) + ((values >> 8) & 0x00FF00FF)
    return (((pairs >> 16) + (pairs & 0xFFFF) - 510) * amplitude).int().view(-1, *shape)


def _mixed(values: Tensor) -> Tensor:
    """A bijection of 32-bit words that looks random (splitmix32's two multipliers are below 2^31: nothing overflows).

    Source: TheIronBorn in github.com/skeeto/hash-prospector, issue 19.
    """
    values = values & WORD
    for shift, factor in ((16, 0x21F0AAAD), (15, 0x735A2D97)):
        values ^= values >> shift
        values *= factor
        values &= WORD
    return values ^ (values >> 15)


def pasted(stack: Tensor, others: Tensor, boxes: Tensor) -> Tensor:
    """The first n of `stack` (m, h, w, C), each with the pixels of stack[others] in its box.

    `others` is int64 (n,); `boxes` is int64 (n, 4): top, bottom, left, right, the ends exclusive.
    """
    _, height, width, _ = stack.shape
    y = torch.arange(height, device=stack.device).view(1, -1, 1, 1)
    x = torch.arange(width, device=stack.device).view(1, 1, -1, 1)
    top, bottom, left, right = boxes.view(-1, 4, 1, 1, 1).unbind(dim=1)
    within = (y >= top) & (y < bottom) & (x >= left) & (x < right)
    return torch.where(within, stack[others], stack[: len(others)])
