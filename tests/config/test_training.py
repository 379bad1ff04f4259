"""Settings: presets load, nonsense is refused by the name of its key."""

import math
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otovox.config.training import (
    BASE_SCHEDULE,
    SCHEDULES,
    AugmentationConfig,
    LossConfig,
    NetworkConfig,
    OptimiserConfig,
    heatmap_step,
    load_config,
    load_preset,
    preset_names,
)
from otovox.errors import ConfigError


def test_every_preset_loads_under_its_own_name():
    papers = {"base", "gold", "segmentation-only", "landmarks-only"}
    assert {"labyrinth", "locator", "tiny"} | papers <= set(preset_names())
    for name in preset_names():
        assert load_preset(name).name == name


def test_the_gold_network_differs_from_the_base_in_what_the_paper_names():
    base, gold = (load_preset(name).model_dump() for name in ("base", "gold"))
    changed = {
        f"{table}.{key}": value
        for table in ("network", "loss", "optimiser", "augmentation", "data")
        for key, value in gold[table].items()
        if value != base[table][key]
    }
    assert changed == {
        "network.activation": "mish",
        "network.attention": "both",
        "optimiser.accumulation": 15,
        "augmentation.protocol": "beta",
    }
    assert load_preset("gold").heatmaps == SCHEDULES["gamma"]


def test_every_value_of_a_preset_of_the_paper_names_its_origin():
    for name in ("base", "gold", "segmentation-only", "landmarks-only"):
        text = (resources.files("otovox.config") / "presets" / f"{name}.toml").read_text("utf-8")
        values = [line for line in text.splitlines()[4:] if "=" in line]
        assert all("#" in line for line in values), name
        stated = {line.split(" = ")[0] for line in values}
        parts = (NetworkConfig, LossConfig, OptimiserConfig, AugmentationConfig)
        for part in parts:
            assert set(part.model_fields) - stated <= {"in_channels", "momentum", "name"}


@pytest.mark.parametrize(
    "name", ["autocasnet-unet", "autocasnet-resunet", "autocasnet-seunet", "jsdnet", "jsdnet-plain"]
)
def test_every_value_of_another_systems_preset_names_its_origin(name):
    text = (resources.files("otovox.config") / "presets" / f"{name}.toml").read_text("utf-8")
    values = [line for line in text.splitlines()[4:] if "=" in line]
    assert all("#" in line for line in values)


def test_settings_from_before_there_were_systems_are_of_the_dual_head():
    assert load_preset("base").system.kind == "dual-head"


def test_unknown_schedule_is_refused_by_name(tmp_path):
    (tmp_path / "settings.toml").write_text('name = "x"\nheatmaps = "delta"')
    with pytest.raises(ConfigError, match="base, fast, late, gamma, static"):
        load_config(tmp_path / "settings.toml")


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_heatmap_always_outweighs_silence(name):
    """The MSE of predicting nothing, a^2 (pi b^2)^1.5 / 128^3, never falls far below the first."""
    silence = [
        step.amplitude**2 * (math.pi * step.spread_voxels**2) ** 1.5 / 128**3
        for step in SCHEDULES[name]
    ]
    assert min(silence) > 0.4
    assert max(silence) / min(silence) < 2


def test_unknown_preset_is_refused():
    with pytest.raises(ConfigError, match="base"):
        load_preset("none such")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('name = "x"\nspeed = 1', "speed"),
        ('name = "x"\n[network]\nnorm = "group"', "network.norm"),
        ('name = "x"\n[network]\nlandmarks = ["a", "a"]', "landmarks"),
        ('name = "x"\n[network]\ndecoders = 1\nattention = "heatmap"', "attention"),
        ('name = "x"\n[network]\nheads = "segmentation"', "decoders"),
        ('name = "x"\n[data]\nshape = [100, 128, 128]', "data.shape"),
        ('name = "x"\n[optimiser]\nwarmup_iterations = 60_000', "plateau_iterations"),
        ('name = "x"\nvalidate_every = 751', "validate_every"),
        ('name = "x"\n[optimiser]\npeak_rate = inf', "infinite"),
        ('name = "x"\n[system]\nkind = "forest"', "dual-head"),
        ('name = "x"\n[system]\nkind = "autocasnet"\norder = ["axial", "axial"]', "a view twice"),
        ('name = "x"\n[system]\nkind = "jsdnet"\n[data]\nshape = [12, 16, 16]', "multiple of 8"),
        ("name = ", "TOML"),
    ],
)
def test_nonsense_is_refused_by_name(tmp_path, text, key):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=key) as refusal:
        load_config(path)
    assert "settings.toml" in str(refusal.value)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "absent.toml")


@pytest.mark.parametrize(("iteration", "spread"), [(0, 12), (9_999, 12), (10_000, 8), (90_000, 3)])
def test_schedule_holds_from_its_iteration_on(iteration, spread):
    assert heatmap_step(BASE_SCHEDULE, iteration).spread_voxels == spread


def test_rate_is_a_trapezoid():
    settings = OptimiserConfig(
        peak_rate=1.0, warmup_iterations=10, plateau_iterations=20, total_iterations=30
    )
    rates = [settings.rate(n) for n in (0, 4, 9, 15, 20, 25, 30)]
    assert rates == pytest.approx([0.1, 0.5, 1.0, 1.0, 1.0, 0.505, 0.01])


@given(st.integers(0, 200_000))
def test_rate_stays_positive_and_below_the_peak(iteration):
    settings = OptimiserConfig()
    assert 0 < settings.rate(iteration) <= settings.peak_rate
