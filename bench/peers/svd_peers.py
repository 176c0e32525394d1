"""Time of randomised low-rank decompositions by torch and NumPy on the CPU.

    python bench/peers/svd_peers.py [--threads 2]

The sizes, ranks and spectrum (sigma_i = 1/i, 512 terms) are those of
`cargo run --release -p loract-linalg --example bench`. Contestants run in turn:
torch.svd_lowrank(A, q=k, niter=0), the same algorithm in NumPy (Gaussian test
matrix, QR, SVD of the small factor), and the two matrix products of rank k alone.
Every answer is checked against the best possible error. Prints the fastest and
the median time in milliseconds, and the machine's load.

Versions: crates/testkit/golden/requirements.txt (torch 2.15.0, numpy 2.4.6).
"""

import argparse
import os
import time

parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, default=2)
threads = parser.parse_args().threads
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(threads)

import numpy as np
import torch

torch.set_num_threads(threads)


def numpy_rsvd(a, k, rng):
    q, _ = np.linalg.qr(a @ rng.standard_normal((a.shape[1], k), dtype=np.float32))
    u, s, v = np.linalg.svd(q.T @ a, full_matrices=False)
    return q @ u, s, v


def relative_error(a, u, s, v):
    return float(np.linalg.norm(a - (u * s) @ v) / np.linalg.norm(a))


def main():
    rng = np.random.default_rng(0)
    print(f"threads {threads}, load {os.getloadavg()}")
    for m, n, k, rounds in [(2048, 576, 72, 40), (2048, 1536, 192, 12), (8192, 2048, 256, 5)]:
        sigma = 1.0 / np.arange(1, 513, dtype=np.float32)
        u, v = (np.linalg.qr(rng.standard_normal((side, 512), dtype=np.float32))[0] for side in (m, n))
        a = np.ascontiguousarray((u * sigma) @ v.T)
        best = float(np.sqrt((sigma[k:] ** 2).sum() / (sigma**2).sum()))
        t = torch.from_numpy(a)
        wide, tall = torch.randn(n, k), torch.randn(m, k)
        runs = {
            "two products (torch)": lambda: (t @ wide, t.T @ tall),
            "torch.svd_lowrank": lambda: torch.svd_lowrank(t, q=k, niter=0),
            "numpy rsvd": lambda: numpy_rsvd(a, k, rng),
        }
        us, s, vs = (x.numpy() for x in runs["torch.svd_lowrank"]())
        for found in (relative_error(a, us, s, vs.T), relative_error(a, *runs["numpy rsvd"]())):
            assert best * 0.999 <= found <= 2.2 * best, (found, best)
        times = {name: [] for name in runs}
        for _ in range(rounds):
            for name, run in runs.items():
                start = time.perf_counter()
                run()
                times[name].append(1e3 * (time.perf_counter() - start))
        shown = ", ".join(f"{name} {min(t):.2f} / {np.median(t):.2f}" for name, t in times.items())
        print(f"{m} x {n}, {k}: {shown}   ms: best / median")
    print(f"load {os.getloadavg()}")


if __name__ == "__main__":
    main()
