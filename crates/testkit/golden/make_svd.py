"""Make golden/svd: small matrices, and what numpy.linalg.svd says of them in f64.

    pip install -r requirements.txt
    python make_svd.py

Versions: numpy 2.4.6, safetensors 0.8.0. Written next to this script:

  svd/matrices.safetensors   f32 matrices by name
  svd/svd.json               name -> singular_values (descending), best_error: relative
                             Frobenius error of the best approximation of rank 0, 1, ...
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def main():
    rng = np.random.default_rng(0)
    normal = lambda m, n: rng.standard_normal((m, n))

    def spectrum(m, n, sigma):
        u, v = (np.linalg.qr(normal(side, len(sigma)))[0] for side in (m, n))
        return (u * sigma) @ v.T

    i = np.arange(1, 25)
    outliers = spectrum(60, 24, 1.0 / i)
    outliers[:, [3, 17]] *= 300.0
    matrices = {
        "normal_40x24": normal(40, 24),
        "power1_24x50": spectrum(24, 50, 1.0 / i),
        "power2_60x24": spectrum(60, 24, 1.0 / i**2),
        "geometric_30x24": spectrum(30, 24, 10.0 ** (-6 * (i - 1) / 23)),
        "rank5_33x20": spectrum(33, 20, np.ones(5)),
        "outliers_60x24": outliers,
        "row_1x9": normal(1, 9),
        "hilbert_12x12": 1.0 / (np.arange(12)[:, None] + np.arange(12)[None, :] + 1.0),
    }
    answers = {}
    for name, a in matrices.items():
        matrices[name] = a = np.ascontiguousarray(a, dtype=np.float32)
        s = np.linalg.svd(a.astype(np.float64), compute_uv=False)
        tail = np.sqrt(np.append(np.cumsum((s**2)[::-1])[::-1], 0.0))
        answers[name] = {"singular_values": s.tolist(), "best_error": (tail / np.linalg.norm(a.astype(np.float64))).tolist()}
    folder = Path(__file__).parent / "svd"
    folder.mkdir(exist_ok=True)
    save_file(matrices, folder / "matrices.safetensors")
    (folder / "svd.json").write_text(json.dumps(answers, indent=1) + "\n")


if __name__ == "__main__":
    main()
