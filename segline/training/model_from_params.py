"""The model that params.yaml describes, for the data of the train split."""

from segline.core import params, plugins
from segline.dataset import processed
from segline.model import batches, checkpoint
from segline.training import class_weights, loop, pretrained


def from_params(document: params.Document, section: loop.Section, split: processed.Split) -> checkpoint.Description:
    """The chosen network with its parameters and head; inputs and classes are those of the train split.

    Raises ParameterError naming the key if the network is unknown or its section is not valid.
    """
    name = params.text(document, "model.name")
    network = params.section(document, f"model.{name}", plugins.choose("segline.networks", name, "model.name").Section)
    weighted = "weighted_cross_entropy" in section.loss
    return checkpoint.Description(
        network=name,
        parameters=pretrained.described(network),
        head=params.text(document, "model.head"),
        preparation=split.index.preparation,
        mean=batches.MEAN,
        std=batches.STD,
        classes=split.index.classes,
        class_weights=class_weights.median_frequency(split) if weighted else (),
        started_from=section.start_from.sha256 if section.start_from else None,
        objects=split.index.objects,
    )
