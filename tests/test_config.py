"""Settings: presets load, nonsense is refused by the name of its key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otovox.config import (
    BASE_SCHEDULE,
    OptimiserConfig,
    heatmap_step,
    load_config,
    load_preset,
    preset_names,
)
from otovox.errors import ConfigError


def test_every_preset_loads_under_its_own_name():
    assert {
        "labyrinth",
        "locator",
        "base",
        "gold",
        "segmentation-only",
        "landmarks-only",
        "tiny",
    } <= set(preset_names())
    for name in preset_names():
        assert load_preset(name).name == name


def test_unknown_preset_is_refused():
    with pytest.raises(ConfigError, match="gold"):
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


def test_the_papers_presets_differ_from_base_where_the_paper_says_so():
    """S21 and S23 name the differences; everything else is the base's."""
    base = load_preset("base").model_dump()

    def changes(name):
        other = load_preset(name).model_dump()
        return {
            f"{table}.{key}" if isinstance(value, dict) else table
            for table, value in other.items()
            for key in (value if isinstance(value, dict) else [table])
            if (value[key] if isinstance(value, dict) else value)
            != (base[table][key] if isinstance(value, dict) else base[table])
        } - {"name", "description"}

    assert changes("gold") == {
        "network.attention",
        "network.activation",
        "augment.protocol",
        "heatmaps",
        "optimiser.accumulation",
    }
    for name in ("segmentation-only", "landmarks-only"):
        assert changes(name) == {"network.heads", "network.decoders"}


def test_the_base_preset_is_the_papers():
    config = load_preset("base")
    assert config.network.channels == (32, 64, 128, 256, 320)
    assert config.network.auxiliary_factors == (2, 4, 8)
    assert config.optimiser.total_iterations == 75_000
    assert config.optimiser.accumulation == 10
    assert config.optimiser.weight_decay == 0.025
    assert (config.validate_every, config.data.shape) == (750, (128, 128, 128))
    assert config.heatmaps == BASE_SCHEDULE


def test_schedules_have_names(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text('name = "x"\nheatmaps = "gamma"')
    assert load_config(path).heatmaps[-1].spread_voxels == 2
    path.write_text('name = "x"\nheatmaps = "delta"')
    with pytest.raises(ConfigError, match="gamma"):
        load_config(path)


def test_both_readings_of_the_papers_windows():
    data = load_preset("base").data
    assert data.window_stride == (25, 25, 25)
    assert data.model_copy(update={"window": "overlap"}).window_stride == (103, 103, 103)


@pytest.mark.parametrize(("terminals", "factors"), [((), ()), ((2,), (4,)), ((1, 3), (2, 8))])
def test_terminals_are_a_setting(terminals, factors):
    network = load_preset("base").network.model_copy(update={"terminals": terminals})
    assert network.auxiliary_factors == factors
