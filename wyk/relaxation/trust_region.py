"""Quasi-Newton steps within a trust region, for few variables and dear gradients (Nocedal and Wright, 2006)."""

import numpy as np

SOFTEST = 0.05  # eV/Å²; softer or negative curvature counts as this much, or as its absolute value


def update(hessian: np.ndarray, step: np.ndarray, change: np.ndarray) -> np.ndarray:
    """A Hessian that agrees with the change of the gradient along a step.

    BFGS where the curvature is positive, which keeps all others positive (eq. 6.19); Powell's symmetric update where it
    is not, which can take a negative one (eq. 6.33 with v = s).

    Args:
        hessian: (m, m).
        step, change: (m,).
    """
    image = hessian @ step
    curvature, before = step @ change, step @ image
    if curvature > 0.05 * before:
        return hessian + np.outer(change, change) / curvature - np.outer(image, image) / before
    off, square = change - image, step @ step
    cross = np.outer(off, step) / square
    return hessian + cross + cross.T - (off @ step) / square**2 * np.outer(step, step)


def minimise(gradient: np.ndarray, hessian: np.ndarray, radius: float) -> tuple[np.ndarray, float]:
    """The step that lowers the quadratic model most within a radius, and by how much.

    Negative curvatures count by their absolute value, so that the step leads away from a saddle point.

    Args:
        gradient: (m,).
        hessian: (m, m) symmetric.
        radius: of the step, in the norm of all its components.
    """
    values, axes = np.linalg.eigh(hessian)
    values = np.maximum(np.abs(values), SOFTEST)
    along = axes.T @ gradient
    step = -along / values
    if np.linalg.norm(step) > radius:
        low, high = 0.0, np.linalg.norm(along) / radius  # with this much added, no step is longer
        while high - low > 1e-3 * high:
            middle = (low + high) / 2
            inside = np.linalg.norm(along / (values + middle)) <= radius
            low, high = (low, middle) if inside else (middle, high)
        step = -along / (values + high)
    return axes @ step, -(along @ step + values @ step**2 / 2)
