"""Coefficients of kernels/src/activation.rs: near-minimax polynomials, with their worst relative errors.

Run: python activation_coefficients.py (numpy 2, scipy 1.16)
"""

import numpy as np
from numpy.polynomial import chebyshev as C, polynomial as P
from scipy.special import erfc, erfcx


def fit(f, lo, hi, degree):
    """Chebyshev interpolation of f on [lo, hi], as plain coefficients, lowest power first."""
    c = C.chebinterpolate(lambda u: f(0.5 * (hi - lo) * u + 0.5 * (hi + lo)), degree)
    in_u = C.cheb2poly(c)
    u_of_x = np.array([-(hi + lo) / (hi - lo), 2 / (hi - lo)])
    out = np.zeros(1)
    for a in in_u[::-1]:
        out = P.polyadd(P.polymul(out, u_of_x), [a])
    return out


def show(name, c):
    print(name, ", ".join(f"{v:.9e}" for v in c))


# exp(r) on half a binade around 0.
h = np.log(2) / 2 * 1.001
e = fit(np.exp, -h, h, 6)
show("EXP", e)
r = np.linspace(-h, h, 100_001)
print("  relative error", np.abs(P.polyval(r, e) / np.exp(r) - 1).max())

# erfcx(z) / t as a polynomial of t = 1 / (1 + z / 2), for z >= 0; at t = 0 the limit is 1 / (2 sqrt(pi)).
def q(t):
    t = np.asarray(t, float)
    z = 2 / np.maximum(t, 1e-300) - 2
    return np.where(t < 1e-8, 0.5 / np.sqrt(np.pi), erfcx(z) / np.maximum(t, 1e-300))


g = fit(q, 0.12, 1, 8)
show("ERFCX", g)
t = np.linspace(0.125, 1, 100_001)
z = 2 / t - 2
print("  relative error of erfc to z = 9.8", np.abs(P.polyval(t, g) * t * np.exp(-z * z) / erfc(z) - 1)[z < 9.8].max())
