"""Memory of a process that analyses many scans through one model.

    python benchmarks/repeated_calls.py --calls 100 --kind noise
    python benchmarks/repeated_calls.py --calls 20 --kind ear

Prints the resident memory after each tenth of the calls. The first calls fill caches; what counts
is the growth after them.
"""

import argparse
import gc

import numpy as np
import psutil

import otovox


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--kind", choices=("noise", "ear"), default="noise")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    model = otovox.load_model(device="cpu", threads=options.threads, tta="none")
    scan = ear_scan() if options.kind == "ear" else noise_scan()
    process, every = psutil.Process(), max(1, options.calls // 10)
    for call in range(1, options.calls + 1):
        result = model.analyze(scan)
        assert bool(result.ears) == (options.kind == "ear")
        del result
        if call % every == 0:
            gc.collect()
            print(f"call {call}: {process.memory_info().rss / 2**20:.1f} MiB", flush=True)


def noise_scan() -> otovox.Scan:
    """A small head of noise, in which no ear is found."""
    grid = otovox.Grid((40, 40, 40), np.diag([1.6, 1.6, 1.6, 1.0]))
    values = np.random.default_rng(0).normal(0, 100, grid.shape).astype(np.float32)
    return otovox.Scan(values, grid, "noise")


def ear_scan() -> otovox.Scan:
    """A phantom of one temporal bone."""
    from otovox.phantom.cases import make_case

    return make_case(3, kind="ear", scanner="msct").scan


if __name__ == "__main__":
    main()
