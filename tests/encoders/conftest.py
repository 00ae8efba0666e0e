"""These tests need the extra `encoders`, which has an environment of its own: `make test-encoders`."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("segmentation_models_pytorch") else ["test_*.py"]
