"""All stages after the download with `smp`, and the parameters they read: those that dvc.yaml declares."""

from tests.contract import test_parameters
from tests.contract.test_parameters import project, reads  # noqa: F401 - fixtures
from tests.encoders.smallest import section


def test_the_stages_read_what_dvc_yaml_declares(project, reads, monkeypatch):  # noqa: F811 - fixtures
    monkeypatch.setitem(test_parameters.NETWORKS, "smp", section("unet"))

    test_parameters.test_the_stages_after_it("smp", project, reads)
