"""Values of the nonlinearities in float64, for the tests of kernels/src/network/activation.rs.

Run: python activation_values.py (numpy 2, scipy 1.16)
"""

import numpy as np
from scipy.special import erfc

for x in [-12.0, -8.5, -5.0, -3.0, -2.0, -1.25, -0.75, -0.5, -0.125, -0.001, 0.0, 0.001, 0.125, 0.5, 1.0, 2.0, 4.0, 9.0, 30.0]:
    gelu = 0.5 * x * erfc(-x / np.sqrt(2))
    # 1 + tanh(s) = 2 / (1 + exp(-2 s)), which keeps its digits where tanh is near -1.
    gelu_new = x / (1 + np.exp(-2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    print(f"        ({x}, {gelu:.12e}, {gelu_new:.12e}),")
print()
for x in [-40.0, -12.0, -3.0, -1.25, -0.125, 0.0, 0.001, 0.5, 1.0, 4.0, 30.0]:
    silu, quick_gelu = x / (1 + np.exp(-x)), x / (1 + np.exp(-1.702 * x))
    print(f"        ({x}, {silu:.12e}, {quick_gelu:.12e}, {max(x, 0.0) ** 2:.12e}),")
