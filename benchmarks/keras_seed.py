"""One optimiser step of the U-Net of `loops` in Keras 3 on TensorFlow, as it was published: float32, Adam, dropout.

    python -m benchmarks.keras_seed THREADS BATCH     # serves turns to `training_step`

Needs only tensorflow-cpu (the extra `bench`) and the standard library, so that another interpreter can run it.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from benchmarks import turns

SIZE, NUM_CLASSES, PARAMETERS = 128, 12, 34_514_060


def build() -> Any:
    """The network. Its parameters are counted, so that it cannot drift from ours unnoticed."""

    def block(features: Any, width: int) -> Any:
        for _ in range(2):
            convolve = layers.Conv2D(width, 3, padding="same", activation="relu", kernel_initializer="he_normal")
            features = convolve(features)
        return features

    inputs = features = keras.Input((SIZE, SIZE, 3))
    skips = []
    for width in (64, 128, 256, 512):
        skips.append(block(features, width))
        features = layers.Dropout(0.3)(layers.MaxPooling2D()(skips[-1]))
    features = block(features, 1024)
    for width in (512, 256, 128, 64):
        enlarged = layers.Conv2DTranspose(width, 3, strides=2, padding="same")(features)
        features = block(layers.Dropout(0.3)(layers.concatenate([enlarged, skips.pop()])), width)
    model = keras.Model(inputs, layers.Conv2D(NUM_CLASSES, 1, activation="softmax")(features))
    if model.count_params() != PARAMETERS:
        raise RuntimeError(f"expected {PARAMETERS} parameters, got {model.count_params()}")
    model.compile(optimizer=keras.optimizers.Adam(1e-3), loss="categorical_crossentropy")
    return model


def step(threads: int, batch: int) -> Callable[[], object]:
    """A step on a batch of random pixels and classes."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (batch, SIZE, SIZE, 3)).astype(np.float32) / 127.5 - 1
    onehot = np.eye(NUM_CLASSES, dtype=np.float32)[random.integers(0, NUM_CLASSES, (batch, SIZE, SIZE))]
    return partial(build().train_on_batch, images, onehot)


if __name__ == "__main__":
    turns.serve(partial(turns.timed, step(int(sys.argv[1]), int(sys.argv[2]))))
