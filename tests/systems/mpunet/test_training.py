"""The multi-planar system: planes, training on a blob, a whole scan from several views."""

from pathlib import Path

import numpy as np
import pytest
import torch

from otovox.config.training import load_preset
from otovox.core.volume import Scan
from otovox.errors import ConfigError, InputError
from otovox.imaging.metrics import dice
from otovox.learning.bundle import Bundle, load_bundle
from otovox.learning.hardware import Hardware
from otovox.systems.interface import TrainingInput
from otovox.systems.mpunet.inference import view_probabilities
from otovox.systems.mpunet.network import MPUNet
from otovox.systems.mpunet.settings import settings_of
from otovox.systems.mpunet.training import MPUNetTask
from otovox.systems.registry import system_of, trained_network
from otovox.systems.whole_volume import Sweep
from systems.mpunet.blob import GRID, a_blob, settings

pytestmark = pytest.mark.filterwarnings("ignore::Warning:lightning", "ignore::UserWarning:torch")

ORIGIN = {"training_data": "a blob", "validation_data": "the same blob"}


def train(config, output: Path, **keys) -> Bundle:
    hardware = Hardware(accelerator="cpu", devices="1")
    course = TrainingInput([a_blob()], [a_blob()], None, ORIGIN, hardware=hardware, **keys)
    return system_of(config).train(config, output, course)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run of few iterations, whose norms must forget their beginning sooner than published."""
    output = tmp_path_factory.mktemp("mpunet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("otovox.systems.mpunet.network.NORM_KEEPS", 0.8)
        train(settings(), output)
    return output


def test_the_preset_builds_the_published_network():
    with torch.device("meta"):
        network = MPUNet.of(settings_of(load_preset("mpunet")))
    assert isinstance(network, MPUNet)
    assert sum(part.numel() for part in network.planar.parameters()) == 62_050_239
    assert network.views.shape == (6, 3)


@pytest.mark.slow
def test_it_overfits_a_blob_and_finds_it_in_a_scan(trained, tmp_path):
    bundle = load_bundle(trained / "model")
    case = a_blob()
    # Measured after these 120 iterations: 0.89 on planes, 0.94 on the scan.
    assert bundle.facts["validation"]["dsc"] > 0.8
    found = system_of(bundle.config).predict(Scan(case.image, GRID), bundle, tmp_path, device="cpu")
    assert found.grid.same_as(GRID)
    assert found.landmarks is None
    assert found.probability is not None
    assert found.uncertainty is not None
    assert dice(found.probability > 0.5, case.labels > 0) > 0.9
    assert found.uncertainty.max() > 0.05
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "probability.npy",
        "uncertainty.npy",
    ]


@pytest.mark.slow
def test_the_views_and_the_fusion_lie_in_the_bundle(trained):
    network = trained_network(load_bundle(trained / "model"))
    assert isinstance(network, MPUNet)
    assert np.allclose(np.linalg.norm(network.views.numpy(), axis=1), 1, atol=2e-3)
    assert not torch.equal(network.fusion.weights, torch.ones(3, 2))


@pytest.mark.slow
def test_a_finished_run_is_only_read(trained):
    first = load_bundle(trained / "model")
    kept = (trained / "best.ckpt").stat().st_mtime_ns
    again = train(settings(), trained)
    assert (trained / "best.ckpt").stat().st_mtime_ns == kept
    assert all(np.array_equal(first.weights[name], again.weights[name]) for name in first.weights)


@pytest.mark.slow
def test_a_plain_sum_learns_no_fusion(tmp_path):
    config = settings(fusion="sum", elastic=False)
    short = config.optimiser.model_copy(update={"plateau_iterations": 2, "total_iterations": 2})
    config = config.model_copy(update={"optimiser": short, "validate_every": 2})
    weights = train(config, tmp_path).weights
    assert np.array_equal(weights["fusion.weights"], np.ones((3, 2)))


class Answering(torch.nn.Module):
    """Says that dark pixels are labyrinth, whatever surrounds them."""

    def forward(self, planes):
        return torch.cat((planes + 7, -planes - 7), dim=1)


def test_each_view_gives_the_volume_back(tmp_path):
    network = MPUNet.of(settings_of(settings())).eval()
    assert isinstance(network, MPUNet)
    network.planar.forward = Answering().forward
    network.views.copy_(torch.tensor([[0, 0, 1], [0.6, 0, 0.8], [0.5, -0.7, 0.5]]))
    labels = a_blob().labels
    noise = np.random.default_rng(0).normal(0, 50, GRID.shape)
    image = (np.where(labels, 0, 1000) + noise).astype(np.float32)
    seen = view_probabilities(network, image, GRID, tmp_path)
    assert seen.shape == (3, *GRID.shape)
    for view in seen:
        assert dice(view > 0.5, labels > 0) > 0.9


@pytest.mark.slow
def test_what_it_cannot_do_is_refused(trained, tmp_path):
    bundle = load_bundle(trained / "model")
    scan = Scan(a_blob().image, GRID)
    system = system_of(bundle.config)
    with pytest.raises(ConfigError, match="--tta none"):
        system.predict(scan, bundle, tmp_path, sweep=Sweep(tta="paper"), device="cpu")
    with pytest.raises(InputError, match="more than"):
        system.predict(scan, bundle, tmp_path, sweep=Sweep(largest_voxels=1000), device="cpu")
    with pytest.raises(ConfigError, match="no device"):
        system.open_model(bundle, device="abacus")


def test_a_deformed_plane_counts_less():
    task = MPUNetTask(load_preset("mpunet"), Answering())
    image = torch.randn(2, 1, 8, 8)
    batch = {"image": image, "labels": torch.zeros(2, 8, 8, dtype=torch.long)}
    alone = [
        float(task.losses({k: v[n : n + 1] for k, v in batch.items()} | {"weight": one}, 0)["loss"])
        for n, one in enumerate(torch.ones(2, 1))
    ]
    both = task.losses(batch | {"weight": torch.tensor([1.0, 0.33])}, 0)["loss"]
    assert float(both) == pytest.approx((alone[0] + 0.33 * alone[1]) / 2)
