"""From scores to findings: calibration, e-processes, the false-discovery budget, and cases."""
